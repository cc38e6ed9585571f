-- The effective readings of device $1 in [$2, $3) in buckets of width $4 (an interval that divides a day, or a day;
-- counted from midnight UTC): one row a bucket and value, `place` being the value's place in the declaration from 1.
WITH effective AS (
    SELECT DISTINCT ON ("timestamp") "timestamp", {values}
    FROM {kind}_history
    WHERE {id} = $1 AND "timestamp" >= $2 AND "timestamp" < $3
    ORDER BY "timestamp" DESC, id DESC
)
SELECT date_bin($4, "timestamp", '2000-01-01T00:00:00Z') AS bucket, place,
    count(*) AS readings, sum(value) AS sum, min(value) AS min, max(value) AS max,
    (array_agg(value ORDER BY "timestamp"))[1] AS first, (array_agg(value ORDER BY "timestamp" DESC))[1] AS last
FROM effective
CROSS JOIN LATERAL unnest(ARRAY[{values}]) WITH ORDINALITY AS measured (value, place)
GROUP BY bucket, place
ORDER BY bucket, place
