-- The dead letter $1 was refused once more: keep the newest SQLSTATE and reason.
UPDATE dead_letter SET sqlstate = $2, reason = $3 WHERE id = $1
