-- Readings of UTC days from $1 on that have left history, to files or for good, a row a kind and day.
SELECT kind, day, sum(readings)::bigint AS readings
FROM archive_part
WHERE state IN ('archived', 'dropped') AND day >= $1::date
GROUP BY kind, day
