-- The readings in [$1, $2), which is a UTC day, in the order of an archived day. Ids by their bytes, whatever the
-- collation of the database is: so does DuckDB compare them.
SELECT id, created_at, "timestamp", {id}, {values}
FROM {kind}_history
WHERE "timestamp" >= $1 AND "timestamp" < $2
ORDER BY {id} COLLATE "C", "timestamp", id
