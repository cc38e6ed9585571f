-- What may be taken from the rollups of device $2 of kind $1 between the UTC days $3 and $4: with which settings they
-- are made, before which hour there are any (null: none), since when hours and days are kept whole (null: always), which
-- of its hours wait to be made anew, and which days have no readings any more but these.
SELECT settings,
    nullif(rolled_until, '-infinity') AS rolled_until,
    nullif(hours_from, '-infinity') AS hours_from,
    nullif(days_from, '-infinity') AS days_from,
    ARRAY(SELECT DISTINCT bucket FROM rollup_mark WHERE device_id = $2 AND kind = $1) AS marks,
    ARRAY(
        SELECT DISTINCT day FROM archive_part WHERE kind = $1 AND day >= $3 AND day <= $4 AND state = 'dropped'
    ) AS given_up
FROM rollup_state
