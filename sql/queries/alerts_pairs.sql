-- The pairs of a vehicle and a meter in [$1, $4), so that they can be judged by any threshold up to $5 percent: the $7 with
-- the lowest efficiency below that, in order. The first row, also where there is none, has besides `known`, how many pairs
-- have rollups at all, and `efficiencies`, all there are below $5 in their order, with how many pairs have each (`counts`).
-- Judged are those of whose readings at least the share $6 is correlated.
-- $2, $3: the whole UTC days inside, which come from the daily rollups; the hours before and behind come from the hourly
-- ones. Each range lies together on disk, so that it is read in one go; sums of integers are three times as fast as those
-- of bigint, which become numeric, and no pair has two billion readings in the time that may be asked for.
WITH part AS (
    SELECT vehicle_id, meter_id, meter_readings, vehicle_readings, correlated, ac_kwh, dc_kwh
    FROM pair_day
    WHERE bucket >= $2 AND bucket < $3
    UNION ALL
    SELECT vehicle_id, meter_id, meter_readings, vehicle_readings, correlated, ac_kwh, dc_kwh
    FROM pair_hour
    WHERE bucket >= $1 AND bucket < $2
    UNION ALL
    SELECT vehicle_id, meter_id, meter_readings, vehicle_readings, correlated, ac_kwh, dc_kwh
    FROM pair_hour
    WHERE bucket >= $3 AND bucket < $4
),
total AS (
    SELECT vehicle_id, meter_id,
        sum(meter_readings::integer) AS meter_readings,
        sum(vehicle_readings::integer) AS vehicle_readings,
        sum(correlated::integer) AS correlated,
        sum(ac_kwh) AS ac_kwh,
        sum(dc_kwh) AS dc_kwh
    FROM part
    GROUP BY vehicle_id, meter_id
),
judged AS (
    SELECT *
    FROM (
        SELECT *, round(dc_kwh * 100 / nullif(ac_kwh, 0), 2) AS efficiency_pct
        FROM total
        WHERE correlated > 0 AND correlated >= $6::numeric * greatest(meter_readings, vehicle_readings)
    ) AS measured
    WHERE efficiency_pct < $5::numeric
),
worst AS (
    SELECT *, row_number() OVER (ORDER BY efficiency_pct, ac_kwh - dc_kwh DESC, vehicle_id, meter_id) AS place
    FROM judged
    ORDER BY place
    LIMIT $7
),
spread AS (
    SELECT efficiency_pct, count(*) AS pairs FROM judged GROUP BY efficiency_pct
),
whole AS (
    SELECT 1::bigint AS place,
        (SELECT count(*) FROM total) AS known,
        coalesce(array_agg(efficiency_pct::float8 ORDER BY efficiency_pct), '{}') AS efficiencies,
        coalesce(array_agg(pairs ORDER BY efficiency_pct), '{}') AS counts
    FROM spread
)
SELECT *
FROM whole
FULL JOIN worst USING (place)
ORDER BY place
