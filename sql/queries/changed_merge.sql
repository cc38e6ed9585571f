-- One row a device, already in the order of the key. The newer timestamp wins; at equal ones the later received.
INSERT INTO {kind}_current ({columns})
SELECT {columns} FROM {kind}_changed
ON CONFLICT ({id}) DO UPDATE SET "timestamp" = excluded."timestamp", {assignments}, updated_at = now()
WHERE {kind}_current."timestamp" <= excluded."timestamp"
