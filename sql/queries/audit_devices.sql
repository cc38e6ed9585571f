-- Devices with readings from UTC day $1 on, and how many of these have no current state from then on.
-- Goes from each device to the next one in the index, instead of reading all of it: some steps a device and partition.
WITH RECURSIVE device AS (
    (SELECT {id} FROM {kind}_history WHERE "timestamp" >= $1::date ORDER BY {id} LIMIT 1)
    UNION ALL
    SELECT (
        SELECT next.{id} FROM {kind}_history AS next
        WHERE next.{id} > device.{id} AND next."timestamp" >= $1::date
        ORDER BY next.{id} LIMIT 1
    )
    FROM device
    WHERE device.{id} IS NOT NULL
)
SELECT count(*) AS devices, count(*) FILTER (WHERE state.{id} IS NULL) AS without_current
FROM device
LEFT JOIN {kind}_current AS state ON state.{id} = device.{id} AND state."timestamp" >= $1::date
WHERE device.{id} IS NOT NULL
