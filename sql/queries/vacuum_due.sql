-- The partitions of days before UTC day $1 of whose pages more than one in a hundred are not marked visible, the newest
-- first: those that no vacuum has seen since the day was over, or that got many late rows since. From the catalog and the
-- size of the file, not from statistics, which a crash empties.
SELECT part.oid::regclass::text AS partition, file.pages
FROM pg_inherits
JOIN pg_class AS part ON part.oid = inhrelid
CROSS JOIN LATERAL (
    SELECT pg_relation_size(part.oid) / current_setting('block_size')::bigint AS pages
) AS file
WHERE inhparent = '{kind}_history'::regclass
    AND right(part.relname, 10) < to_char($1::date, 'YYYY_MM_DD')
    AND (file.pages - part.relallvisible) * 100 > file.pages
ORDER BY part.relname DESC
