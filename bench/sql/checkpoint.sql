-- The journal in whose books the generated readings stand; retired, since it has no file.
INSERT INTO shard_checkpoint (journal_id, shard, shards, epoch, owner, first_seq, last_seq, retired_at, retired_reason)
VALUES ($1, 0, 1, 1, $1, 1, 0, now(), 'drained')
ON CONFLICT DO NOTHING
