-- The oldest marks of hours before $1, and all others that say the same: kind, device, hour, ids. At most $2 are looked
-- at; none of the days $3, whose readings cannot be had at the moment.
WITH oldest AS (
    SELECT kind, device_id, bucket
    FROM rollup_mark
    WHERE bucket < $1 AND date_trunc('day', bucket) <> ALL($3::timestamptz[])
    ORDER BY id
    LIMIT $2
)
SELECT mark.kind, mark.device_id, mark.bucket, array_agg(mark.id) AS ids
FROM (SELECT DISTINCT kind, device_id, bucket FROM oldest) AS place
JOIN rollup_mark AS mark USING (device_id, bucket, kind)
GROUP BY mark.kind, mark.device_id, mark.bucket
ORDER BY mark.device_id, mark.bucket
