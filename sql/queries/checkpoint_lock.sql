-- Keep all flushes out until the end of this transaction. Of all shards: after their number was changed, a device's
-- readings come from another journal than its dead letters. Always in one order, so that two of us cannot deadlock.
SELECT journal_id FROM shard_checkpoint WHERE retired_at IS NULL ORDER BY journal_id FOR UPDATE
