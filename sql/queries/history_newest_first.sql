-- The effective readings of device $1 in [$2, $3), the newest first, at most $4.
-- Of rows with one timestamp the newest id counts; the index gives them in this order.
SELECT DISTINCT ON ("timestamp") {columns}, id
FROM {kind}_history
WHERE {id} = $1 AND "timestamp" >= $2 AND "timestamp" < $3
ORDER BY "timestamp" DESC, id DESC
LIMIT $4
