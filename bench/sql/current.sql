-- The newest readings made become the current states, as a flush would have made them.
INSERT INTO {kind}_current ({columns})
SELECT newest.*
FROM bench.pair
CROSS JOIN LATERAL (
    SELECT {columns} FROM {kind}_history AS history
    WHERE history.{id} = pair.{id} AND history."timestamp" >= $1 AND history."timestamp" < $2
    ORDER BY history."timestamp" DESC, history.id DESC
    LIMIT 1
) AS newest
ORDER BY 1
ON CONFLICT ({id}) DO UPDATE SET "timestamp" = excluded."timestamp", {assignments}, updated_at = now()
WHERE excluded."timestamp" >= {kind}_current."timestamp"
