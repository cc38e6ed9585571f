-- Devices whose current state, from UTC day $1 on, is not their newest effective reading: how many, and one of them.
-- One step into the covering index of each partition per device. Where that reading has left history with its day, there
-- must be no newer one.
WITH state AS (
    SELECT {columns},
        EXISTS (
            SELECT FROM archive_part
            WHERE kind = '{kind}' AND archive_part.state IN ('archived', 'dropped')
                AND day = ("timestamp" AT TIME ZONE 'UTC')::date
        ) AS archived
    FROM {kind}_current
    WHERE "timestamp" >= $1::date
)
SELECT count(*) AS devices, min({id}) AS example
FROM (
    (
        SELECT {columns} FROM state WHERE NOT archived
        EXCEPT
        SELECT newest.*
        FROM state
        CROSS JOIN LATERAL (
            SELECT {columns} FROM {kind}_history AS history
            WHERE history.{id} = state.{id} AND history."timestamp" >= $1::date
            ORDER BY "timestamp" DESC, history.id DESC
            LIMIT 1
        ) AS newest
        WHERE NOT state.archived
    )
    UNION ALL
    SELECT {columns} FROM state
    CROSS JOIN LATERAL (
        SELECT true AS found FROM {kind}_history AS history
        WHERE history.{id} = state.{id}
            AND history."timestamp" > state."timestamp" AND history."timestamp" >= $1::date
        LIMIT 1
    ) AS newer
    WHERE archived
) AS differing
