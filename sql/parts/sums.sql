    count(*) FILTER (WHERE ac) AS meter_readings,
    count(*) FILTER (WHERE NOT ac) AS vehicle_readings,
    count(partner_kwh) FILTER (WHERE NOT ac) AS correlated,
    coalesce(sum(partner_kwh) FILTER (WHERE NOT ac), 0) AS ac_kwh,
    coalesce(sum(kwh) FILTER (WHERE NOT ac AND partner_kwh IS NOT NULL), 0) AS dc_kwh,
    coalesce(sum(kwh) FILTER (WHERE ac AND partner_kwh IS NULL), 0) AS uncorrelated_ac_kwh,
    coalesce(sum(kwh) FILTER (WHERE NOT ac AND partner_kwh IS NULL), 0) AS uncorrelated_dc_kwh,
    coalesce(sum(battery_temp), 0) AS battery_temp_sum
