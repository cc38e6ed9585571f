-- Of the registers $1 the hour of the next reading after the hour $2 beside each: what it shows is compared with another
-- reading now. $3, $4: what all of that spans, so that partitions are pruned.
SELECT asked.device_id, date_bin('1 hour', later.at, '2000-01-01T00:00:00Z') AS bucket
FROM unnest($1::text[], $2::timestamptz[]) AS asked (device_id, bucket)
CROSS JOIN LATERAL (
    SELECT history."timestamp" AS at
    FROM {kind}_history AS history
    WHERE history.{id} = asked.device_id
        AND history."timestamp" >= $3 AND history."timestamp" < $4
        AND history."timestamp" >= asked.bucket + interval '1 hour'
        AND history."timestamp" < asked.bucket + interval '1 hour' + hseie_register_reach()
    ORDER BY history."timestamp"
    LIMIT 1
) AS later
