-- The days before UTC day $2 that have a partition of one of the kinds $1, the oldest first, and how many readings of
-- each the day books say were stored.
SELECT partition.kind, partition.day, coalesce(sum(day_book.stored), 0)::bigint AS booked
FROM (
    SELECT given.kind, to_date(right(pg_class.relname, 10), 'YYYY_MM_DD') AS day
    FROM unnest($1::text[]) AS given (kind)
    JOIN pg_inherits ON pg_inherits.inhparent = to_regclass(given.kind || '_history')
    JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
    WHERE pg_class.relname ~ '_history_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
) AS partition
LEFT JOIN day_book ON day_book.kind = partition.kind AND day_book.day = partition.day
WHERE partition.day < $2
GROUP BY partition.kind, partition.day
ORDER BY partition.day, partition.kind
