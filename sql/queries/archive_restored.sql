-- The rows of all parts of kind $1 and UTC day $2 are in history, until $3.
UPDATE archive_part SET state = 'restored', restored_until = $3, changed_at = now()
WHERE kind = $1 AND day = $2 AND state <> 'dropped'
