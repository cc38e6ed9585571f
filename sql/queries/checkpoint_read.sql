-- Who owns journal $1 and how far it is. Waits for a transaction that may still be ending.
SELECT epoch, owner, last_seq, last_crc FROM shard_checkpoint WHERE journal_id = $1 FOR UPDATE
