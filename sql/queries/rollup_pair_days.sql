-- Make the days $2 of the vehicles $1 (a day beside each vehicle) from the hours of their pairs.
WITH piece AS (
    SELECT vehicle_id, day FROM unnest($1::text[], $2::timestamptz[]) AS given (vehicle_id, day)
),
made AS (
    SELECT hour.vehicle_id, piece.day AS bucket, hour.meter_id,
\ir ../parts/pair_sums.sql
    FROM piece
    JOIN pair_hour AS hour
        ON hour.vehicle_id = piece.vehicle_id AND hour.bucket >= piece.day AND hour.bucket < piece.day + interval '1 day'
    GROUP BY hour.vehicle_id, piece.day, hour.meter_id
),
gone AS (
    DELETE FROM pair_day AS old
    USING piece
    WHERE old.vehicle_id = piece.vehicle_id AND old.bucket = piece.day
        AND NOT EXISTS (
            SELECT FROM made
            WHERE made.vehicle_id = old.vehicle_id AND made.bucket = old.bucket AND made.meter_id = old.meter_id
        )
)
INSERT INTO pair_day AS old
\ir ../parts/pair_replace.sql
