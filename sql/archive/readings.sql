-- The readings of some devices in a half-open range of time, microseconds since 1970, from a few files. The range of the
-- devices is what lets row groups be skipped.
SELECT {id}, epoch_us("timestamp"), id, {values}
FROM read_parquet($files)
WHERE {id} >= $first_device AND {id} <= $last_device
    AND {id} IN (SELECT unnest($devices::VARCHAR[]))
    AND "timestamp" >= make_timestamptz($start::BIGINT) AND "timestamp" < make_timestamptz($end::BIGINT)
ORDER BY {id} {order}, "timestamp" {order}, id {order}
LIMIT $limit
