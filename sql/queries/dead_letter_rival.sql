-- Of device $1: whether its current state is of the time $2, where history has no reading of that time; then the state may be
-- a correction that has left history. With the id of the one that was given up with its day, and whether that day was.
SELECT
    (
        SELECT given_up.id FROM {kind}_given_up AS given_up
        WHERE given_up.{id} = state.{id} AND given_up."timestamp" = state."timestamp"
    ) AS given_up,
    EXISTS (
        SELECT FROM archive_part
        WHERE archive_part.kind = '{kind}' AND archive_part.state = 'dropped'
            AND day = (state."timestamp" AT TIME ZONE 'UTC')::date
    ) AS dropped
FROM {kind}_current AS state
WHERE state.{id} = $1 AND state."timestamp" = $2
