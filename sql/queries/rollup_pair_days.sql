-- Make the days $2 of the vehicles $1 (a day beside each vehicle) from the hours of their pairs.
WITH piece AS (
    SELECT vehicle_id, day FROM unnest($1::text[], $2::timestamptz[]) AS given (vehicle_id, day)
),
made AS (
    SELECT hour.vehicle_id, piece.day AS bucket, hour.meter_id,
        sum(hour.meter_readings)::bigint AS meter_readings, sum(hour.vehicle_readings)::bigint AS vehicle_readings,
        sum(hour.correlated)::bigint AS correlated,
        sum(hour.ac_kwh) AS ac_kwh, sum(hour.dc_kwh) AS dc_kwh,
        sum(hour.uncorrelated_ac_kwh) AS uncorrelated_ac_kwh, sum(hour.uncorrelated_dc_kwh) AS uncorrelated_dc_kwh,
        sum(hour.battery_temp_sum) AS battery_temp_sum
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
SELECT * FROM made
ON CONFLICT (vehicle_id, bucket, meter_id) DO UPDATE SET
    meter_readings = excluded.meter_readings, vehicle_readings = excluded.vehicle_readings,
    correlated = excluded.correlated, ac_kwh = excluded.ac_kwh, dc_kwh = excluded.dc_kwh,
    uncorrelated_ac_kwh = excluded.uncorrelated_ac_kwh, uncorrelated_dc_kwh = excluded.uncorrelated_dc_kwh,
    battery_temp_sum = excluded.battery_temp_sum
WHERE old IS DISTINCT FROM excluded
