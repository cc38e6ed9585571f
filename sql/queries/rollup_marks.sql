-- The oldest marks of hours before $1, and others that say the same: kind, device, hour, ids. At most $2 are looked at, and
-- at most $4 ids told, as many of each hour as of any other: of an hour with more of them the rest is for the next time.
-- None of the days $3, whose readings cannot be had at the moment.
WITH oldest AS (
    SELECT kind, device_id, bucket
    FROM rollup_mark
    WHERE bucket < $1 AND date_trunc('day', bucket) <> ALL($3::timestamptz[])
    ORDER BY id
    LIMIT $2
),
place AS (
    SELECT DISTINCT kind, device_id, bucket FROM oldest
)
SELECT place.kind, place.device_id, place.bucket, array_agg(mark.id) AS ids
FROM place
CROSS JOIN LATERAL (
    SELECT rollup_mark.id
    FROM rollup_mark
    WHERE rollup_mark.device_id = place.device_id AND rollup_mark.bucket = place.bucket
        AND rollup_mark.kind = place.kind
    LIMIT $4::bigint / (SELECT count(*) FROM place)
) AS mark
GROUP BY place.kind, place.device_id, place.bucket
ORDER BY place.device_id, place.bucket
