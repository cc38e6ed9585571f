-- Add to the books of journal $1, per kind: received, stored, duplicates, dead-lettered. Returns which hours are closed,
-- because every flush comes this way after it has taken the lock that keeps the others open.
INSERT INTO shard_book (journal_id, kind, received, stored, duplicates, dead_lettered)
SELECT $1::uuid, added.* FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS added
ON CONFLICT (journal_id, kind) DO UPDATE SET
    received = shard_book.received + excluded.received,
    stored = shard_book.stored + excluded.stored,
    duplicates = shard_book.duplicates + excluded.duplicates,
    dead_lettered = shard_book.dead_lettered + excluded.dead_lettered
RETURNING (
\ir ../parts/closed_until.sql
)
