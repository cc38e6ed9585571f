-- The files in which queries find readings of kind $1 of the UTC days from $2 to $3, both included. A row that is in
-- history as well has the same id there: also of a day that is restored, which was not when somebody asked history before.
SELECT kind, day, part, state, file, readings, bytes
FROM archive_part
WHERE kind = $1 AND day >= $2 AND day <= $3 AND state <> 'dropped'
ORDER BY day, part
