-- The days before UTC day $2 that have a partition of one of the kinds $1, the oldest first, and how many readings of
-- each the day books say were stored. Partitions that are not those of a day are none of ours.
SELECT given.kind, partitions.day, coalesce(sum(day_book.stored), 0)::bigint AS booked
FROM unnest($1::text[]) AS given (kind)
CROSS JOIN LATERAL hseie_partitions(given.kind) AS partitions
LEFT JOIN day_book ON day_book.kind = given.kind AND day_book.day = partitions.day
WHERE partitions.day < $2
GROUP BY given.kind, partitions.day
ORDER BY partitions.day, given.kind
