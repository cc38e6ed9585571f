-- The oldest reading's time in [$1, $2]: from each device's first entry in the index, because no index leads with time.
SELECT min(first.at)
FROM {kind}_current AS device
CROSS JOIN LATERAL (
    SELECT history."timestamp" AS at
    FROM {kind}_history AS history
    WHERE history.{id} = device.{id} AND history."timestamp" >= $1 AND history."timestamp" <= $2
    ORDER BY history."timestamp"
    LIMIT 1
) AS first
