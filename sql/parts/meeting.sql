-- The one place where readings of vehicles and meters meet. CTEs; the last, `meeting`, has a row a reading: number (of
-- its piece), ac (a meter's), at, kwh, battery_temp (null for meters), event (of its register, or null), partner_kwh (of
-- the reading it is correlated with, or null). Readings before counts_from and from counts_until on are among them.
--
-- $1 to $8: pieces: vehicle, meter (null: none), starts, ends, counts_from, counts_until, whether the vehicle and the
--     meter send registers. What lies in [starts, ends) is read and may be paired: twice the tolerance more on either
--     side than what is counted, because whether a reading is taken depends on its neighbour's neighbour, but not
--     beyond the time in which the meter feeds the vehicle. What lies in [counts_from, counts_until) is counted.
-- $9, $10: from the first `starts` to the last `ends`. As parameters, so that partitions are pruned.
-- $11: the tolerance, an interval.  $12: kW above which the step of a register is not believed.
-- $13 to $18: readings besides those of history: device, ac, at, id, kwh, battery_temp (null for meters). From the
--     archive; and of each register the newest ones before its pieces, so that there is something to compare with.
--
-- Effective: of rows with one device and timestamp the newest id. Correlated: each the other's nearest in time within
-- the piece, at most the tolerance apart, equal distances to the earlier. Nothing can lie between such a pair, so they
-- are neighbours in the merged order, and no join is needed.
--
-- Readings that are energy as they are come from the index in order. Only where something is given, or a device sends
-- registers, are rows merged and sorted; with a plan made for the values that branch is not there otherwise.
piece AS (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
        $7::boolean[], $8::boolean[]
    ) WITH ORDINALITY AS given (
        vehicle_id, meter_id, starts, ends, counts_from, counts_until, vehicle_is_register, meter_is_register, number
    )
),
given AS (
    SELECT *
    FROM unnest($13::text[], $14::boolean[], $15::timestamptz[], $16::bigint[], $17::numeric[], $18::numeric[])
        AS given (device_id, ac, at, id, kwh, battery_temp)
),
-- The rows of the pieces that have to be merged with others or compared with the one before.
raw AS (
    SELECT piece.number, true AS ac, piece.meter_is_register AS is_register, history."timestamp" AS at, history.id,
        history.kwh_consumed_ac AS kwh, NULL::numeric AS battery_temp
    FROM piece
    JOIN meter_history AS history
        ON history.meter_id = piece.meter_id
        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        AND history."timestamp" >= $9 AND history."timestamp" < $10
    WHERE (cardinality($13::text[]) > 0 OR true = ANY($8::boolean[]))
        AND (cardinality($13::text[]) > 0 OR piece.meter_is_register)
    UNION ALL
    SELECT piece.number, false, piece.vehicle_is_register, history."timestamp", history.id,
        history.kwh_delivered_dc, history.battery_temp
    FROM piece
    JOIN vehicle_history AS history
        ON history.vehicle_id = piece.vehicle_id
        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        AND history."timestamp" >= $9 AND history."timestamp" < $10
    WHERE (cardinality($13::text[]) > 0 OR true = ANY($7::boolean[]))
        AND (cardinality($13::text[]) > 0 OR piece.vehicle_is_register)
    UNION ALL
    SELECT piece.number, given.ac, side.is_register, given.at, given.id, given.kwh, given.battery_temp
    FROM given
    JOIN piece ON given.device_id = CASE WHEN given.ac THEN piece.meter_id ELSE piece.vehicle_id END
    CROSS JOIN LATERAL (
        SELECT CASE WHEN given.ac THEN piece.meter_is_register ELSE piece.vehicle_is_register END AS is_register
    ) AS side
    WHERE cardinality($13::text[]) > 0
        AND given.at < piece.ends
        AND given.at >= CASE WHEN side.is_register THEN piece.starts - hseie_register_reach() ELSE piece.starts END
),
newest AS (
    SELECT DISTINCT ON (number, ac, at) *
    FROM raw
    ORDER BY number, ac, at, id DESC
),
compared AS (
    SELECT *,
        CASE WHEN at - lag(at) OVER device <= hseie_register_reach() THEN lag(kwh) OVER device END AS before,
        at - lag(at) OVER device AS elapsed
    FROM newest
    WINDOW device AS (PARTITION BY number, ac ORDER BY at)
),
stepped AS (
    SELECT *, CASE WHEN is_register THEN hseie_register_event(before, kwh, elapsed, $12) END AS event
    FROM compared
),
reading AS (
    SELECT piece.number, true AS ac, effective.at, effective.kwh, NULL::numeric AS battery_temp, NULL::text AS event
    FROM piece
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (history."timestamp") history."timestamp" AS at, history.kwh_consumed_ac AS kwh
        FROM meter_history AS history
        WHERE history.meter_id = piece.meter_id
            AND history."timestamp" >= $9 AND history."timestamp" < $10
            AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        ORDER BY history."timestamp" DESC, history.id DESC
    ) AS effective
    WHERE NOT piece.meter_is_register AND cardinality($13::text[]) = 0
    UNION ALL
    SELECT piece.number, false, effective.at, effective.kwh, effective.battery_temp, NULL
    FROM piece
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (history."timestamp")
            history."timestamp" AS at, history.kwh_delivered_dc AS kwh, history.battery_temp
        FROM vehicle_history AS history
        WHERE history.vehicle_id = piece.vehicle_id
            AND history."timestamp" >= $9 AND history."timestamp" < $10
            AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        ORDER BY history."timestamp" DESC, history.id DESC
    ) AS effective
    WHERE NOT piece.vehicle_is_register AND cardinality($13::text[]) = 0
    UNION ALL
    SELECT stepped.number, stepped.ac, stepped.at,
        CASE
            WHEN stepped.is_register THEN hseie_register_kwh(stepped.event, stepped.before, stepped.kwh)
            ELSE stepped.kwh
        END,
        stepped.battery_temp, stepped.event
    FROM stepped
    JOIN piece USING (number)
    WHERE stepped.at >= piece.starts
),
-- The other side's readings before and after each in the merged order, in which of equal times the vehicle's is first.
neighbour AS (
    SELECT *,
        CASE WHEN ac THEN max(at) FILTER (WHERE NOT ac) OVER up ELSE max(at) FILTER (WHERE ac) OVER up END AS earlier,
        CASE WHEN ac THEN min(at) FILTER (WHERE NOT ac) OVER down ELSE min(at) FILTER (WHERE ac) OVER down END AS later
    FROM reading
    WINDOW up AS (PARTITION BY number ORDER BY at, ac), down AS (PARTITION BY number ORDER BY at DESC, ac DESC)
),
choice AS (
    SELECT *, CASE WHEN later IS NULL OR at - earlier <= later - at THEN earlier ELSE later END AS nearest
    FROM neighbour
),
-- A row whose nearest is before it, while the row just before has its nearest here: those two are of different sides, or
-- a third one would be nearer to either. So it is enough to look at the neighbour's choice and energy; each look costs
-- as much as reading the row.
meeting AS (
    SELECT number, ac, at, kwh, battery_temp, event,
        CASE
            WHEN nearest = earlier AND lag(nearest) OVER merged = at AND at - nearest <= $11 THEN lag(kwh) OVER merged
            WHEN nearest = later AND lead(nearest) OVER merged = at AND nearest - at <= $11 THEN lead(kwh) OVER merged
        END AS partner_kwh
    FROM choice
    WINDOW merged AS (PARTITION BY number ORDER BY at, ac)
)
