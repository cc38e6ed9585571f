-- Before which hour there are rollups (null: there are none yet), since when hours and days are kept (null: always), how
-- often those of pairs have changed, and whether they are made with the settings $1.
SELECT nullif(state.rolled_until, '-infinity') AS until, change.number,
    nullif(state.hours_from, '-infinity') AS hours_from, nullif(state.days_from, '-infinity') AS days_from,
    state.settings = $1 AS made_as_now
FROM rollup_state AS state, rollup_change AS change
