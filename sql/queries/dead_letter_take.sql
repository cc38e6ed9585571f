-- Take the dead letter $1 out, to store it. No row: somebody else has taken it.
DELETE FROM dead_letter WHERE id = $1 RETURNING id
