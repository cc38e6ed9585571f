-- Pairs of a vehicle and a meter whose efficiency in [$1, $4) is below $5 percent, the worst first, at most $7; `found`
-- is how many there are, `known` how many have rollups at all, and where there is none to report, that is the only row.
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
    SELECT *, round(dc_kwh * 100 / nullif(ac_kwh, 0), 2) AS efficiency_pct
    FROM total
    WHERE correlated > 0 AND correlated >= $6::numeric * greatest(meter_readings, vehicle_readings)
),
worst AS (
    SELECT *, count(*) OVER () AS found
    FROM judged
    WHERE efficiency_pct < $5::numeric
    ORDER BY efficiency_pct, ac_kwh - dc_kwh DESC, vehicle_id, meter_id
    LIMIT $7
)
SELECT counted.known, worst.*
FROM (SELECT count(*) AS known FROM total) AS counted
LEFT JOIN worst ON true
ORDER BY efficiency_pct, ac_kwh - dc_kwh DESC, vehicle_id, meter_id
