-- What has to be known before the energy of vehicle $1 between $3 and $4 is added up; $2: its candidate meters, the
-- preferred first. Rows (what, name, starts, ends) of each of these:
--   vehicle   it is known: a reading of it was ever stored
--   by_id     the meter (null: none) that the ids say, as parts/segments.sql has it
--   paired    rollups are made with the meter that the ids say
--   claimed   device_pair has something to say of the vehicle or that meter; without it the meter feeds it all the time
--   rolled    with which settings rollups are made; before which hour there are any
--   kept      from when hours, and from when days are kept whole
--   mark      a device, the vehicle or a meter, and an hour that wait to be made anew
--   archived, dropped   a kind and a UTC day whose readings are not in history only, or are given up
-- Of marks and days also those as far back as a register may be compared. Planning takes longer than all of this, so what
-- is rare (claims) is asked for apart.
WITH by_id AS (
    SELECT max(known.meter_id) AS meter_id
    FROM (
        SELECT meter_current.meter_id
        FROM unnest($2::text[]) WITH ORDINALITY AS candidate (meter_id, place)
        JOIN meter_current ON meter_current.meter_id = candidate.meter_id
        ORDER BY candidate.place
        LIMIT 1
    ) AS known
)
SELECT 'by_id' AS what, meter_id AS name, NULL::timestamptz AS starts, NULL::timestamptz AS ends FROM by_id
UNION ALL
SELECT 'vehicle', NULL, NULL, NULL FROM vehicle_current WHERE vehicle_id = $1
UNION ALL
SELECT 'paired', NULL, NULL, NULL
FROM pair_by_id
WHERE vehicle_id = $1 AND meter_id = (SELECT coalesce(meter_id, '') FROM by_id)
UNION ALL
SELECT 'claimed', meter_id, NULL, NULL
FROM device_pair
WHERE vehicle_id = $1 OR meter_id = (SELECT meter_id FROM by_id)
UNION ALL
SELECT 'rolled', settings, NULL, nullif(rolled_until, '-infinity') FROM rollup_state
UNION ALL
SELECT 'kept', NULL, nullif(hours_from, '-infinity'), nullif(days_from, '-infinity') FROM rollup_state
UNION ALL
SELECT DISTINCT 'mark', device_id, bucket, NULL::timestamptz
FROM rollup_mark
WHERE device_id = ANY(
        ARRAY(
            SELECT $1::text
            UNION ALL
            SELECT meter_id FROM by_id
            UNION ALL
            SELECT meter_id FROM device_pair WHERE vehicle_id = $1
        )
    )
    AND bucket >= $3::timestamptz - hseie_register_reach() - interval '1 day'
    AND bucket < $4::timestamptz + interval '1 day'
UNION ALL
SELECT DISTINCT CASE WHEN state = 'dropped' THEN 'dropped' ELSE 'archived' END, kind, day::timestamptz, NULL::timestamptz
FROM archive_part
WHERE day >= ($3::timestamptz - hseie_register_reach() - interval '1 day')::date AND day <= $4::date
    AND state IN ('written', 'archived', 'dropped')
