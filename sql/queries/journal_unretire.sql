-- Take it back that journal $1 was given up for lost. No row: it was not.
UPDATE shard_checkpoint SET retired_at = NULL, retired_reason = NULL
WHERE journal_id = $1 AND retired_reason = 'lost'
RETURNING journal_id
