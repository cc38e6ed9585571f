-- The same as performance_correlate for all vehicles together, where nothing is given and no register is among the
-- devices: half the planning, which takes longer than a day of one vehicle. $1 to $11: see parts/meeting.sql.
WITH piece AS (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
        $7::boolean[], $8::boolean[]
    ) WITH ORDINALITY AS given (
        vehicle_id, meter_id, starts, ends, counts_from, counts_until, vehicle_is_register, meter_is_register, number
    )
)
SELECT
\ir ../parts/sums.sql
    , NULL::text[] AS events
FROM piece
CROSS JOIN LATERAL (
\ir ../parts/meeting_of_piece.sql
) AS meeting
WHERE meeting.at >= piece.counts_from AND meeting.at < piece.counts_until
