-- The journals that may still store something, the latest writer first.
SELECT journal_id, shard, shards, last_seq, updated_at
FROM shard_checkpoint
WHERE retired_at IS NULL
ORDER BY updated_at DESC, shard
