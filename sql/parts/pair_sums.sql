-- Sums of `hour`, rows with the columns of pair_hour, in their order.
    sum(hour.meter_readings)::bigint AS meter_readings, sum(hour.vehicle_readings)::bigint AS vehicle_readings,
    sum(hour.correlated)::bigint AS correlated,
    sum(hour.ac_kwh) AS ac_kwh, sum(hour.dc_kwh) AS dc_kwh,
    sum(hour.uncorrelated_ac_kwh) AS uncorrelated_ac_kwh, sum(hour.uncorrelated_dc_kwh) AS uncorrelated_dc_kwh,
    sum(hour.battery_temp_sum) AS battery_temp_sum
