-- Devices whose current state is not their newest effective reading: how many, and one of them.
-- One step into the covering index of each partition per device.
SELECT count(*) AS devices, min({id}) AS example
FROM (
    SELECT {columns} FROM {kind}_current
    EXCEPT
    SELECT newest.*
    FROM {kind}_current AS state
    CROSS JOIN LATERAL (
        SELECT {columns} FROM {kind}_history AS history
        WHERE history.{id} = state.{id}
        ORDER BY "timestamp" DESC, history.id DESC
        LIMIT 1
    ) AS newest
) AS differing
