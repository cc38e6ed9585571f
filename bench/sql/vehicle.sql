-- The vehicles' readings in [$1, $2), whole minutes, in the order in which they would have come.
INSERT INTO {table} (created_at, "timestamp", vehicle_id, soc, kwh_delivered_dc, battery_temp)
SELECT
    to_timestamp(((vehicle_ms / 250 + 1) * 250)::float8 / 1000), to_timestamp(vehicle_ms::float8 / 1000), vehicle_id,
    soc * 0.01, (ac_units * (efficiency_ppm + ((bits >> 32) & 255) * 40) / 1000000) * 0.0001,
    (ambient + site_cc + warmth + ((bits >> 50) & 15)) * 0.01
FROM (
\ir measured.sql
) AS measured
WHERE (bits >> 55) & 511 <> 0
