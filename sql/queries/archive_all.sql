-- All parts of the UTC days from $1 to $2, both included, and how many seconds ago each came to its state.
SELECT kind, day, part, state, file, readings, bytes, sums, sha256, booked, restored_until,
    extract(epoch FROM now() - changed_at)::float8 AS age_s
FROM archive_part
WHERE day >= $1 AND day <= $2
ORDER BY day, kind, part
