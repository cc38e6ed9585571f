-- The UTC days of which kind $1 has, or had, readings: whether history may have some, whether files are to be read besides,
-- and whether readings were given up (then what remains is not all there was).
SELECT day, bool_or(in_history) AS in_history, bool_or(in_files) AS in_files, bool_or(given_up) AS given_up
FROM (
    SELECT day, true AS in_history, false AS in_files, false AS given_up
    FROM hseie_days_of_history($1)
    UNION ALL
    SELECT day, false, state IN ('written', 'archived'), state = 'dropped'
    FROM archive_part
    WHERE kind = $1
) AS place
GROUP BY day
ORDER BY day
