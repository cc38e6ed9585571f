-- The next $3 devices after $1, by id, that have sent anything since $2.
SELECT {id} AS device_id
FROM {kind}_current
WHERE {id} > $1 AND "timestamp" >= $2
ORDER BY {id}
LIMIT $3
