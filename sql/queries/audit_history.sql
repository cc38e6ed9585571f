-- Rows in history, devices in history, and how many of these have no current state.
SELECT coalesce(sum(history.readings), 0)::bigint AS readings,
    count(*) AS devices,
    count(*) FILTER (WHERE state.{id} IS NULL) AS without_current
FROM (SELECT {id}, count(*) AS readings FROM {kind}_history GROUP BY {id}) AS history
LEFT JOIN {kind}_current AS state USING ({id})
