-- Make this process, token $6, the owner of journal $1 (shard $2 of $3, first sequence $4): the epoch rises, and whoever
-- held the former one is fenced. A database that does not know the journal begins before its oldest frame, $5.
INSERT INTO shard_checkpoint (journal_id, shard, shards, epoch, owner, first_seq, last_seq, begun_after)
VALUES ($1, $2, $3, 1, $6, $4, $5::bigint - 1, $5::bigint - 1)
ON CONFLICT (journal_id) DO UPDATE SET
    epoch = shard_checkpoint.epoch + 1,
    owner = excluded.owner,
    updated_at = now(),
    retired_at = NULL,
    retired_reason = NULL
RETURNING epoch, last_seq
