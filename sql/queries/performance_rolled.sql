-- The sums of vehicle $1 from rollups: of the hours in the spans $2 to $3, and the days in the spans $4 to $5. With the
-- columns of performance_correlate. $6 to $9: kinds and devices of registers, and from when to when what happened to
-- them is told.
SELECT
    coalesce(sum(meter_readings), 0)::bigint AS meter_readings,
    coalesce(sum(vehicle_readings), 0)::bigint AS vehicle_readings,
    coalesce(sum(correlated), 0)::bigint AS correlated,
    coalesce(sum(ac_kwh), 0) AS ac_kwh,
    coalesce(sum(dc_kwh), 0) AS dc_kwh,
    coalesce(sum(uncorrelated_ac_kwh), 0) AS uncorrelated_ac_kwh,
    coalesce(sum(uncorrelated_dc_kwh), 0) AS uncorrelated_dc_kwh,
    coalesce(sum(battery_temp_sum), 0) AS battery_temp_sum,
    (
        SELECT array_agg(DISTINCT happened.event)
        FROM unnest($6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[])
            AS register (kind, device_id, starts, ends)
        JOIN register_event AS happened
            ON happened.kind = register.kind AND happened.device_id = register.device_id
            AND happened."timestamp" >= register.starts AND happened."timestamp" < register.ends
    ) AS events
FROM (
    SELECT rolled.*
    FROM unnest($2::timestamptz[], $3::timestamptz[]) AS span (starts, ends)
    JOIN pair_hour AS rolled
        ON rolled.vehicle_id = $1 AND rolled.bucket >= span.starts AND rolled.bucket < span.ends
    UNION ALL
    SELECT rolled.*
    FROM unnest($4::timestamptz[], $5::timestamptz[]) AS span (starts, ends)
    JOIN pair_day AS rolled
        ON rolled.vehicle_id = $1 AND rolled.bucket >= span.starts AND rolled.bucket < span.ends
) AS bucket
