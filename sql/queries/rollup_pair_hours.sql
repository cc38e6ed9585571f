-- Make the hours of pairs. $1 to $18: the pieces of vehicles, see parts/meeting.sql; $19 to $21: the vehicles, and from
-- which to which whole hour.
WITH made AS (
\ir ../parts/pair_hours.sql
),
stretch AS (
    SELECT vehicle_id, starts, ends
    FROM unnest($19::text[], $20::timestamptz[], $21::timestamptz[]) AS given (vehicle_id, starts, ends)
),
gone AS (
    DELETE FROM pair_hour AS old
    USING stretch
    WHERE old.vehicle_id = stretch.vehicle_id AND old.bucket >= stretch.starts AND old.bucket < stretch.ends
        AND NOT EXISTS (
            SELECT FROM made
            WHERE made.vehicle_id = old.vehicle_id AND made.bucket = old.bucket AND made.meter_id = old.meter_id
        )
)
INSERT INTO pair_hour AS old
\ir ../parts/pair_replace.sql
