-- The readings of UTC day $1 (it starts at $2 and ends at $3): how many, the exact sums of all their columns as text, the
-- first one's time, and what the day books say of the day. Times are summed in microseconds: since the day began, and from there to created_at.
SELECT coalesce(sum(readings), 0)::bigint AS readings,
    ARRAY[
        coalesce(sum(id), 0)::text,
        coalesce(sum(extract(epoch FROM created_after) * 1000000), 0)::numeric(40, 0)::text,
        coalesce(sum(extract(epoch FROM since_midnight) * 1000000), 0)::numeric(40, 0)::text,
        {sums}
    ] AS sums,
    min(oldest) AS oldest,
    (SELECT coalesce(sum(stored), 0)::bigint FROM day_book WHERE kind = '{kind}' AND day = $1) AS booked
FROM (
    -- Intervals add up five times as fast as numerics, and overflow above a hundred million readings: hence in portions.
    SELECT count(*) AS readings, sum(id) AS id, {partial_sums},
        sum(created_at - "timestamp") AS created_after, sum("timestamp" - $2) AS since_midnight,
        min("timestamp") AS oldest
    FROM {kind}_history
    WHERE "timestamp" >= $2 AND "timestamp" < $3
    GROUP BY id & 4095
) AS portion
