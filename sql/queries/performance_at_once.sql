-- All that the energy of vehicle $12 is answered from, in one way to the server: what has to be known ($13 its candidate
-- meters, the preferred first; $14, $15 the time around the window), and the sums of a guess of that. Rows (what, name,
-- starts, ends, since, sums) of each of these:
--   raw       the sums of the pieces $1 to $11, with nothing given and no register among them: see parts/meeting.sql,
--             whose other branch takes longer to plan than all of this
--   rollups   the sums of the hours in the spans $16 to $17, and of the days in the spans $18 to $19; of registers what
--             happened to them: $20 to $23, kinds and devices, and from when to when
--   vehicle   it is known: a reading of it was ever stored
--   by_id     the meter (null: none) that the ids say, as parts/segments.sql has it
--   paired    rollups are made with the meter that the ids say
--   claimed   device_pair has something to say of the vehicle or that meter; without it the meter feeds it all the time
--   rolled    with which settings rollups are made; from when hours are kept whole, before which hour there are any, and
--             from when days are kept whole
--   mark      a device, the vehicle or a meter, and an hour that wait to be made anew
--   archived, dropped   a kind and a UTC day whose readings are not in history only, or are given up
-- Of marks and days also those as far back as a register may be compared.
WITH piece AS (
    SELECT *
    FROM unnest(
        $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
        $7::boolean[], $8::boolean[]
    ) WITH ORDINALITY AS given (
        vehicle_id, meter_id, starts, ends, counts_from, counts_until, vehicle_is_register, meter_is_register, number
    )
),
by_id AS (
    SELECT max(known.meter_id) AS meter_id
    FROM (
        SELECT meter_current.meter_id
        FROM unnest($13::text[]) WITH ORDINALITY AS candidate (meter_id, place)
        JOIN meter_current ON meter_current.meter_id = candidate.meter_id
        ORDER BY candidate.place
        LIMIT 1
    ) AS known
)
SELECT 'raw' AS what, NULL::text AS name, NULL::timestamptz AS starts, NULL::timestamptz AS ends, NULL::timestamptz AS since,
\ir ../parts/sums.sql
    , NULL::text[] AS events
FROM piece
CROSS JOIN LATERAL (
\ir ../parts/meeting_of_piece.sql
) AS meeting
WHERE meeting.at >= piece.counts_from AND meeting.at < piece.counts_until
UNION ALL
SELECT 'rollups', NULL, NULL, NULL, NULL,
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
        FROM unnest($20::text[], $21::text[], $22::timestamptz[], $23::timestamptz[])
            AS register (kind, device_id, starts, ends)
        JOIN register_event AS happened
            ON happened.kind = register.kind AND happened.device_id = register.device_id
            AND happened."timestamp" >= register.starts AND happened."timestamp" < register.ends
    ) AS events
FROM (
    SELECT rolled.*
    FROM unnest($16::timestamptz[], $17::timestamptz[]) AS span (starts, ends)
    JOIN pair_hour AS rolled
        ON rolled.vehicle_id = $12 AND rolled.bucket >= span.starts AND rolled.bucket < span.ends
    UNION ALL
    SELECT rolled.*
    FROM unnest($18::timestamptz[], $19::timestamptz[]) AS span (starts, ends)
    JOIN pair_day AS rolled
        ON rolled.vehicle_id = $12 AND rolled.bucket >= span.starts AND rolled.bucket < span.ends
) AS bucket
UNION ALL
SELECT known.*, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM (
    SELECT 'by_id' AS what, meter_id AS name, NULL::timestamptz AS starts, NULL::timestamptz AS ends,
        NULL::timestamptz AS since
    FROM by_id
    UNION ALL
    SELECT 'vehicle', NULL, NULL, NULL, NULL FROM vehicle_current WHERE vehicle_id = $12
    UNION ALL
    SELECT 'paired', NULL, NULL, NULL, NULL
    FROM pair_by_id
    WHERE vehicle_id = $12 AND meter_id = (SELECT coalesce(meter_id, '') FROM by_id)
    UNION ALL
    SELECT 'claimed', meter_id, NULL, NULL, NULL
    FROM device_pair
    WHERE vehicle_id = $12 OR meter_id = (SELECT meter_id FROM by_id)
    UNION ALL
    SELECT 'rolled', settings, nullif(hours_from, '-infinity'), nullif(rolled_until, '-infinity'),
        nullif(days_from, '-infinity')
    FROM rollup_state
    UNION ALL
    SELECT DISTINCT 'mark', device_id, bucket, NULL::timestamptz, NULL::timestamptz
    FROM rollup_mark
    WHERE device_id = ANY(
            ARRAY(
                SELECT $12::text
                UNION ALL
                SELECT meter_id FROM by_id
                UNION ALL
                SELECT meter_id FROM device_pair WHERE vehicle_id = $12
            )
        )
        AND bucket >= $14::timestamptz - hseie_register_reach() - interval '1 day'
        AND bucket < $15::timestamptz + interval '1 day'
    UNION ALL
    SELECT CASE WHEN state = 'dropped' THEN 'dropped' ELSE 'archived' END, kind, day::timestamptz, NULL, NULL
    FROM archive_part
    WHERE day >= ($14::timestamptz - hseie_register_reach() - interval '1 day')::date AND day <= $15::date
        AND state IN ('written', 'archived', 'dropped')
) AS known
