-- A retired journal stores nothing any more: 'drained' after the number of shards was changed (its own node may use it
-- again), 'lost' when its file is gone or another node has taken its place. A journal that is neither retired nor in the
-- folder of a node that begins a new one means that something is wrong.
ALTER TABLE shard_checkpoint
    ADD COLUMN retired_at timestamptz,
    ADD COLUMN retired_reason text CHECK (retired_reason IN ('drained', 'lost')),
    ADD CHECK ((retired_at IS NULL) = (retired_reason IS NULL));

-- Journals of another number of shards than the latest were drained before that one began.
UPDATE shard_checkpoint SET retired_at = now(), retired_reason = 'drained'
WHERE shards <> (SELECT shards FROM shard_checkpoint ORDER BY updated_at DESC LIMIT 1);
