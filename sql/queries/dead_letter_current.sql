-- Make row $2 of history the current state of device $1, if it is the device's newest effective reading: neither an older
-- one nor an earlier one of the same timestamp may undo what came after it. $3: whether it is newer than what has left
-- history of that timestamp.
INSERT INTO {kind}_current ({columns})
SELECT {columns}
FROM (
    SELECT id, {columns} FROM {kind}_history WHERE {id} = $1 ORDER BY "timestamp" DESC, id DESC LIMIT 1
) AS newest
WHERE newest.id = $2
ON CONFLICT ({id}) DO UPDATE SET "timestamp" = excluded."timestamp", {assignments}, updated_at = now()
WHERE {kind}_current."timestamp" < excluded."timestamp" OR ({kind}_current."timestamp" = excluded."timestamp" AND $3)
