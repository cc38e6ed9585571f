-- The end of a restore, of kind $1 and UTC day $2 (null: any): of those that were to last until $3, null: of all. History
-- is read until the day leaves it again.
UPDATE archive_part SET state = 'written', restored_until = NULL, changed_at = now()
WHERE state = 'restored' AND ($1::text IS NULL OR kind = $1) AND ($2::date IS NULL OR day = $2)
    AND ($3::timestamptz IS NULL OR restored_until <= $3)
RETURNING kind, day, part
