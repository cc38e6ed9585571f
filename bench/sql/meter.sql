-- The meters' readings in [$1, $2), whole minutes, in the order in which they would have come.
INSERT INTO {table} (created_at, "timestamp", meter_id, kwh_consumed_ac, voltage)
SELECT
    to_timestamp(((meter_ms / 250 + 1) * 250)::float8 / 1000), to_timestamp(meter_ms::float8 / 1000), meter_id,
    ac_units * 0.0001, (nominal_cv - ac_units / 20 + ((bits >> 8) & 255) - 128) * 0.01
FROM (
\ir measured.sql
) AS measured
WHERE (bits >> 40) & 1023 <> 0
