-- Up to which frame PostgreSQL has each journal, and since which.
SELECT journal_id::text, shard, shards, last_seq, owner::text, begun_after FROM shard_checkpoint
ORDER BY shards, shard, first_seq
