-- Forget the parts of kind $1 and UTC day $2 whose rows are still in history: they are written anew.
DELETE FROM archive_part WHERE kind = $1 AND day = $2 AND state = 'written'
