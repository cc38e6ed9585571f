-- Move the checkpoint of journal $1 from $3 to $4, a frame with CRC $5, if epoch $2 still owns it and it is not retired.
-- No row: fenced.
UPDATE shard_checkpoint SET last_seq = $4, last_crc = $5, updated_at = now()
WHERE journal_id = $1 AND epoch = $2 AND last_seq = $3 AND retired_at IS NULL
RETURNING last_seq
