-- Devices of one kind that have been silent at $1 for more than $2 of their cadences, the longest silent first, at most
-- $5; `found` is how many there are. A cadence is that of the fuller of the device's two latest hours that are rolled up:
-- the last one alone may be the one in which it stopped, or began. $3: seconds, where no hour is known.
-- $4: seconds that are no silence yet, since a reading takes its time to arrive here.
SELECT state.{id} AS device_id, state."timestamp" AS last_reading, usual.cadence_s, count(*) OVER () AS found
FROM {kind}_current AS state
CROSS JOIN LATERAL (
    SELECT round(coalesce(3600.0 / max(latest.readings), $3::numeric), 1) AS cadence_s
    FROM (
        SELECT readings FROM {kind}_hour AS hour
        WHERE hour.{id} = state.{id}
        ORDER BY bucket DESC
        LIMIT 2
    ) AS latest
) AS usual
WHERE state."timestamp" < $1::timestamptz - $4::float8 * interval '1 second'
    AND state."timestamp" < $1::timestamptz - $2::float8 * usual.cadence_s::float8 * interval '1 second'
ORDER BY state."timestamp", state.{id}
LIMIT $5
