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
-- Effective: of rows with one device and timestamp the newest id.
--
-- Two branches. Readings that are energy as they are come from the index in order, a piece at a time, and are sorted in
-- its few rows. Pieces with something given, or with a register, are merged and compared, all in one go; with a plan
-- made for the values, that branch is not there where no piece needs it.
piece AS (
    SELECT *, cardinality($13::text[]) > 0 OR vehicle_is_register OR meter_is_register AS merged
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
raw AS (
    SELECT piece.number, true AS ac, piece.meter_is_register AS is_register, history."timestamp" AS at, history.id,
        history.kwh_consumed_ac AS kwh, NULL::numeric AS battery_temp
    FROM piece
    JOIN meter_history AS history
        ON history.meter_id = piece.meter_id
        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        AND history."timestamp" >= $9 AND history."timestamp" < $10
    WHERE piece.merged
        AND (cardinality($13::text[]) > 0 OR true = ANY($7::boolean[]) OR true = ANY($8::boolean[]))
    UNION ALL
    SELECT piece.number, false, piece.vehicle_is_register, history."timestamp", history.id,
        history.kwh_delivered_dc, history.battery_temp
    FROM piece
    JOIN vehicle_history AS history
        ON history.vehicle_id = piece.vehicle_id
        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        AND history."timestamp" >= $9 AND history."timestamp" < $10
    WHERE piece.merged
        AND (cardinality($13::text[]) > 0 OR true = ANY($7::boolean[]) OR true = ANY($8::boolean[]))
    UNION ALL
    SELECT piece.number, true, piece.meter_is_register, given.at, given.id, given.kwh, NULL
    FROM piece
    JOIN given ON given.ac AND given.device_id = piece.meter_id
    WHERE given.at < piece.ends AND cardinality($13::text[]) > 0
        AND given.at >= piece.starts - CASE WHEN piece.meter_is_register THEN hseie_register_reach() ELSE '0' END
    UNION ALL
    SELECT piece.number, false, piece.vehicle_is_register, given.at, given.id, given.kwh, given.battery_temp
    FROM piece
    JOIN given ON NOT given.ac AND given.device_id = piece.vehicle_id
    WHERE given.at < piece.ends AND cardinality($13::text[]) > 0
        AND given.at >= piece.starts - CASE WHEN piece.vehicle_is_register THEN hseie_register_reach() ELSE '0' END
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
-- Fenced by OFFSET 0, or the event would be worked out wherever it is mentioned.
stepped AS (
    SELECT *, CASE WHEN is_register THEN hseie_register_event(before, kwh, elapsed, $12) END AS event
    FROM compared
    OFFSET 0
),
meeting AS (
    SELECT met.*
    FROM piece
    CROSS JOIN LATERAL (
\ir meeting_of_piece.sql
    ) AS met
    WHERE NOT piece.merged AND cardinality($13::text[]) = 0
    UNION ALL
    SELECT met.*
    FROM (
        WITH reading AS (
            SELECT stepped.number, stepped.ac, stepped.at,
                CASE
                    WHEN stepped.is_register THEN hseie_register_kwh(stepped.event, stepped.before, stepped.kwh)
                    ELSE stepped.kwh
                END AS kwh,
                stepped.battery_temp, stepped.event
            FROM stepped
            JOIN piece USING (number)
            WHERE stepped.at >= piece.starts
        )
\ir mutual_nearest.sql
    ) AS met
)
