-- Devices whose current state, from UTC day $1 on, is not their newest effective reading: how many, and one of them.
-- One step into the covering index of each partition per device.
SELECT count(*) AS devices, min({id}) AS example
FROM (
    SELECT {columns} FROM {kind}_current WHERE "timestamp" >= $1::date
    EXCEPT
    SELECT newest.*
    FROM {kind}_current AS state
    CROSS JOIN LATERAL (
        SELECT {columns} FROM {kind}_history AS history
        WHERE history.{id} = state.{id} AND history."timestamp" >= $1::date
        ORDER BY "timestamp" DESC, history.id DESC
        LIMIT 1
    ) AS newest
    WHERE state."timestamp" >= $1::date
) AS differing
