-- Of the readings from UTC day $1 on: a row a day with its rows in history; and one without a day, which says how many
-- devices they are of, and how many of these have no current state from then on. Reads each row once.
WITH counted AS MATERIALIZED (
    SELECT {id}, ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS readings
    FROM {kind}_history
    WHERE "timestamp" >= $1::date
    GROUP BY 1, 2
)
SELECT day, sum(readings)::bigint AS readings, NULL::bigint AS without_current FROM counted GROUP BY day
UNION ALL
SELECT NULL, count(*), count(*) FILTER (WHERE state.{id} IS NULL)
FROM (SELECT DISTINCT {id} FROM counted) AS device
LEFT JOIN {kind}_current AS state ON state.{id} = device.{id} AND state."timestamp" >= $1::date
