-- How many readings history has of UTC day $1, which starts at $2 and ends at $3, and how many the day books have of it.
SELECT count(*) AS readings,
    (SELECT coalesce(sum(stored), 0)::bigint FROM day_book WHERE kind = '{kind}' AND day = $1) AS booked
FROM {kind}_history
WHERE "timestamp" >= $2 AND "timestamp" < $3
