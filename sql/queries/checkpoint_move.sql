-- Move the checkpoint of journal $1 from $3 to $4, a frame with CRC $5, if epoch $2 still owns it and it is not retired.
-- No row: fenced. With the row comes the lock that lets no hour be closed until the end of the transaction (as in
-- rollup_keep_open.sql, without a way of its own to the server): what is returned is evaluated for each row that moved.
UPDATE shard_checkpoint SET last_seq = $4, last_crc = $5, updated_at = now()
WHERE journal_id = $1 AND epoch = $2 AND last_seq = $3 AND retired_at IS NULL
RETURNING last_seq, pg_advisory_xact_lock_shared(hseie_rollup_lock())
