-- Before which hour there are rollups (null: there are none yet), and how often those of pairs have changed.
SELECT nullif(state.rolled_until, '-infinity') AS rolled_until, change.number
FROM rollup_state AS state, rollup_change AS change
