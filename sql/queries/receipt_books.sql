-- What became of all readings ever received, per kind.
SELECT kind,
    sum(received)::bigint AS received,
    sum(stored)::bigint AS stored,
    sum(duplicates)::bigint AS duplicates,
    sum(dead_lettered)::bigint AS dead_lettered
FROM shard_book
GROUP BY kind
