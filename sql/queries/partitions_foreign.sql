-- The partitions of the kinds $1 that are not those of a day.
SELECT partitions.partition::regclass::text AS partition
FROM unnest($1::text[]) AS given (kind)
CROSS JOIN LATERAL hseie_partitions(given.kind) AS partitions
WHERE partitions.day IS NULL
ORDER BY partitions.partition::regclass::text
