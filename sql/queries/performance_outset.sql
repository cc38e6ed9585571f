-- What has to be known before the energy of vehicle $5 between $3 and $4 is added up; $1, $2: the vehicle and its
-- candidate meters, see parts/segments.sql. Rows (what, name, starts, ends) of each of these:
--   vehicle   it is known: a reading of it was ever stored
--   segment   the meter (null: none) that feeds it from when to when
--   rolled    with which settings rollups are made; before which hour there are any
--   kept      from when hours, and from when days are kept whole
--   paired    its rollups are made with the meter that the ids say
--   mark      a device, the vehicle or a meter, and an hour that wait to be made anew
--   archived, dropped   a kind and a UTC day whose readings are not in history only, or are given up
-- Of marks and days also those as far back as a register may be compared.
WITH
\ir ../parts/segments.sql
SELECT 'segment' AS what, meter_id AS name, starts, ends FROM segment
UNION ALL
SELECT 'vehicle', NULL, NULL, NULL FROM vehicle_current WHERE vehicle_id = $5
UNION ALL
SELECT 'rolled', settings, NULL, nullif(rolled_until, '-infinity') FROM rollup_state
UNION ALL
SELECT 'kept', NULL, nullif(hours_from, '-infinity'), nullif(days_from, '-infinity') FROM rollup_state
UNION ALL
SELECT 'paired', NULL, NULL, NULL
FROM pair_by_id
WHERE vehicle_id = $5 AND meter_id = (SELECT coalesce(min(by_id.meter_id), '') FROM by_id)
UNION ALL
SELECT DISTINCT 'mark', device_id, bucket, NULL::timestamptz
FROM rollup_mark
WHERE device_id = ANY(ARRAY(SELECT $5::text UNION ALL SELECT meter_id FROM segment))
    AND bucket >= $3::timestamptz - hseie_register_reach() - interval '1 day'
    AND bucket < $4::timestamptz + interval '1 day'
UNION ALL
SELECT DISTINCT CASE WHEN state = 'dropped' THEN 'dropped' ELSE 'archived' END, kind, day::timestamptz, NULL::timestamptz
FROM archive_part
WHERE day >= ($3::timestamptz - hseie_register_reach() - interval '1 day')::date AND day <= $4::date
    AND state IN ('written', 'archived', 'dropped')
