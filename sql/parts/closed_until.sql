-- The UTC hour before which all are closed, as text like that of the readings; empty while none is.
SELECT coalesce(
    (
        SELECT to_char(closed_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24')
        FROM rollup_state
        WHERE isfinite(closed_until)
    ),
    ''
)
