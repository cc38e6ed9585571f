-- Up to which sequence the journal is committed that frame $2 of shard $1 belongs to. Sequences of a shard's later
-- journals start above those of earlier ones. No row: no journal of this shard begins at or before it.
SELECT last_seq FROM shard_checkpoint WHERE shard = $1 AND first_seq <= $2 ORDER BY first_seq DESC LIMIT 1
