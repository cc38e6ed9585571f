-- What `made` holds, rows of pair_hour or pair_day, replaces those of the same vehicle, bucket and meter, where it differs.
SELECT * FROM made
ON CONFLICT (vehicle_id, bucket, meter_id) DO UPDATE SET
    meter_readings = excluded.meter_readings, vehicle_readings = excluded.vehicle_readings,
    correlated = excluded.correlated, ac_kwh = excluded.ac_kwh, dc_kwh = excluded.dc_kwh,
    uncorrelated_ac_kwh = excluded.uncorrelated_ac_kwh, uncorrelated_dc_kwh = excluded.uncorrelated_dc_kwh,
    battery_temp_sum = excluded.battery_temp_sum
WHERE old IS DISTINCT FROM excluded
