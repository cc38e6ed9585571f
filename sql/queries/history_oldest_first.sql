-- The effective readings of device $1 in [$2, $3), the oldest first, at most $4.
SELECT DISTINCT ON ("timestamp") {columns}, id
FROM {kind}_history
WHERE {id} = $1 AND "timestamp" >= $2 AND "timestamp" < $3
ORDER BY "timestamp", id DESC
LIMIT $4
