-- The energy of the whole fleet in [$1, $4): rollups of whole UTC days from $2 to $3, of hours before and behind.
WITH part AS (
    SELECT meter_readings, vehicle_readings, correlated, ac_kwh, dc_kwh, uncorrelated_ac_kwh, uncorrelated_dc_kwh,
        battery_temp_sum
    FROM pair_day
    WHERE bucket >= $2 AND bucket < $3
    UNION ALL
    SELECT meter_readings, vehicle_readings, correlated, ac_kwh, dc_kwh, uncorrelated_ac_kwh, uncorrelated_dc_kwh,
        battery_temp_sum
    FROM pair_hour
    WHERE bucket >= $1 AND bucket < $2
    UNION ALL
    SELECT meter_readings, vehicle_readings, correlated, ac_kwh, dc_kwh, uncorrelated_ac_kwh, uncorrelated_dc_kwh,
        battery_temp_sum
    FROM pair_hour
    WHERE bucket >= $3 AND bucket < $4
)
SELECT
    coalesce(sum(meter_readings::integer), 0)::bigint AS meter_readings,
    coalesce(sum(vehicle_readings::integer), 0)::bigint AS vehicle_readings,
    coalesce(sum(correlated::integer), 0)::bigint AS correlated,
    coalesce(sum(ac_kwh), 0) AS ac_kwh,
    coalesce(sum(dc_kwh), 0) AS dc_kwh,
    coalesce(sum(uncorrelated_ac_kwh), 0) AS uncorrelated_ac_kwh,
    coalesce(sum(uncorrelated_dc_kwh), 0) AS uncorrelated_dc_kwh,
    coalesce(sum(battery_temp_sum), 0) AS battery_temp_sum
FROM part
