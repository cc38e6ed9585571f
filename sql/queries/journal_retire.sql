-- Retire the journals $1 for the reason $2 ('drained', 'lost'); whoever still writes one of them is fenced.
UPDATE shard_checkpoint SET retired_at = now(), retired_reason = $2
WHERE journal_id = ANY ($1::uuid[]) AND retired_at IS NULL
RETURNING journal_id
