-- The dead letter $1.
SELECT id, journal_id::text, kind, original, sqlstate, reason, created_at, reading_id FROM dead_letter WHERE id = $1
