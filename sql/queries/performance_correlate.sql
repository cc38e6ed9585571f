-- The one place where readings of vehicles and meters are correlated and summed.
--
-- $1 to $4: segments (vehicle, meter or null, start, end) as performance_segments gives them for $5 to $6.
-- $5, $6: what is read: the window and twice the tolerance on either side, because whether a reading just inside is
--     taken may depend on its neighbour's neighbour outside. As parameters, so that partitions are pruned.
-- $7, $8: the window, half-open. A correlated pair belongs where its vehicle reading is; a lone reading where it is.
-- $9: the tolerance, an interval.
-- $10: width of the buckets that start at $7 (the whole window: one bucket).
-- $11: true for a row of each vehicle (and bucket), false for one of all.
--
-- Effective: of rows with one device and timestamp the newest id. Correlated: each the other's nearest in time within
-- the segment, at most the tolerance apart, equal distances to the earlier. Nothing can lie between such a pair, so
-- they are neighbours in the merged order, and no join is needed. Sums are exact; the ratio has two decimals.
WITH segment AS (
    SELECT number, vehicle_id, meter_id, starts, ends
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
        WITH ORDINALITY AS given (vehicle_id, meter_id, starts, ends, number)
),
reading AS (
    SELECT segment.number, segment.vehicle_id, true AS ac, effective.at, effective.kwh, NULL::numeric AS battery_temp
    FROM segment
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (history."timestamp") history."timestamp" AS at, history.kwh_consumed_ac AS kwh
        FROM meter_history AS history
        WHERE history.meter_id = segment.meter_id
            AND history."timestamp" >= $5 AND history."timestamp" < $6
            AND history."timestamp" >= segment.starts AND history."timestamp" < segment.ends
        ORDER BY history."timestamp" DESC, history.id DESC
    ) AS effective
    UNION ALL
    SELECT segment.number, segment.vehicle_id, false, effective.at, effective.kwh, effective.battery_temp
    FROM segment
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (history."timestamp")
            history."timestamp" AS at, history.kwh_delivered_dc AS kwh, history.battery_temp
        FROM vehicle_history AS history
        WHERE history.vehicle_id = segment.vehicle_id
            AND history."timestamp" >= $5 AND history."timestamp" < $6
            AND history."timestamp" >= segment.starts AND history."timestamp" < segment.ends
        ORDER BY history."timestamp" DESC, history.id DESC
    ) AS effective
),
-- The other side's readings at or before, and at or after, each reading.
neighbour AS (
    SELECT *,
        CASE WHEN ac THEN max(at) FILTER (WHERE NOT ac) OVER up ELSE max(at) FILTER (WHERE ac) OVER up END AS before,
        CASE WHEN ac THEN min(at) FILTER (WHERE NOT ac) OVER down ELSE min(at) FILTER (WHERE ac) OVER down END AS after
    FROM reading
    WINDOW up AS (PARTITION BY number ORDER BY at), down AS (PARTITION BY number ORDER BY at DESC)
),
choice AS (
    SELECT *, CASE WHEN after IS NULL OR at - before <= after - at THEN before ELSE after END AS nearest
    FROM neighbour
),
meeting AS (
    SELECT vehicle_id, ac, at, kwh, battery_temp,
        CASE
            WHEN lag(ac) OVER merged <> ac AND nearest = lag(at) OVER merged AND at = lag(nearest) OVER merged
                AND at - nearest <= $9 THEN lag(kwh) OVER merged
            WHEN lead(ac) OVER merged <> ac AND nearest = lead(at) OVER merged AND at = lead(nearest) OVER merged
                AND nearest - at <= $9 THEN lead(kwh) OVER merged
        END AS partner_kwh
    FROM choice
    WINDOW merged AS (PARTITION BY number ORDER BY at, ac)
),
total AS (
    SELECT
        CASE WHEN $11 THEN vehicle_id END AS vehicle_id,
        date_bin($10, at, $7) AS bucket,
        count(*) FILTER (WHERE ac) AS meter_readings,
        count(*) FILTER (WHERE NOT ac) AS vehicle_readings,
        count(partner_kwh) FILTER (WHERE NOT ac) AS correlated,
        coalesce(sum(partner_kwh) FILTER (WHERE NOT ac), 0) AS ac_kwh,
        coalesce(sum(kwh) FILTER (WHERE NOT ac AND partner_kwh IS NOT NULL), 0) AS dc_kwh,
        coalesce(sum(kwh) FILTER (WHERE ac AND partner_kwh IS NULL), 0) AS uncorrelated_ac_kwh,
        coalesce(sum(kwh) FILTER (WHERE NOT ac AND partner_kwh IS NULL), 0) AS uncorrelated_dc_kwh,
        round(avg(battery_temp), 2) AS battery_temp_avg
    FROM meeting
    WHERE at >= $7 AND at < $8
    GROUP BY 1, 2
)
SELECT *, round(dc_kwh * 100 / nullif(ac_kwh, 0), 2) AS efficiency_pct
FROM total
ORDER BY bucket, vehicle_id
