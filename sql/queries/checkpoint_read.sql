-- Who owns journal $1, how far it is, its newest frame's CRC, and whether it is retired. Waits for a transaction that may
-- still be ending.
SELECT epoch, owner, last_seq, last_crc, retired_at, retired_reason FROM shard_checkpoint
WHERE journal_id = $1 FOR UPDATE
