-- Dead letters, newest first: at most $3 of them, of kind $1 and SQLSTATE $2 where these are given.
SELECT id, journal_id::text, kind, original, sqlstate, reason, created_at, reading_id
FROM dead_letter
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR sqlstate = $2)
ORDER BY id DESC
LIMIT $3
