-- Rows in history from UTC day $1 on, a row a day that has any. Reads each row once: a partition is a day. The rows of
-- partitions that somebody made by hand are laid out by their days, in a second reading, if there are such.
WITH by_hand AS MATERIALIZED (
    SELECT array_agg(partition) AS partitions FROM hseie_partitions('{kind}') AS partitions WHERE day IS NULL
)
SELECT day, readings
FROM (
    SELECT tableoid AS partition, (min("timestamp") AT TIME ZONE 'UTC')::date AS day, count(*) AS readings
    FROM {kind}_history
    WHERE "timestamp" >= $1::date
    GROUP BY tableoid
    OFFSET 0  -- so that it is asked of partitions and not of rows whose they are
) AS place
WHERE place.partition <> ALL (coalesce((SELECT partitions FROM by_hand), ARRAY[]::oid[]))
UNION ALL
SELECT ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS readings
FROM {kind}_history
WHERE (SELECT partitions FROM by_hand) IS NOT NULL
    AND "timestamp" >= $1::date AND tableoid = ANY ((SELECT partitions FROM by_hand)::oid[])
GROUP BY ("timestamp" AT TIME ZONE 'UTC')::date
