-- The UTC minute before which readings lie in closed hours, or may be neighbours of what does, as text like that of the
-- readings; empty while no hour is closed.
SELECT coalesce(
    (
        SELECT to_char((closed_until + margin) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI')
        FROM rollup_state
        WHERE isfinite(closed_until)
    ),
    ''
)
