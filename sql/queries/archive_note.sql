-- Note a file that is complete: part $3 of kind $1 and UTC day $2. It holds all that history has of the day, so also the
-- rows of the parts that were written and not dropped from history yet: those are given up.
WITH superseded AS (
    DELETE FROM archive_part WHERE kind = $1 AND day = $2 AND state = 'written' RETURNING file, kind, day, written_by
), unnamed AS (
    INSERT INTO archive_unnamed (file, kind, day, written_by)
    SELECT file, kind, day, written_by FROM superseded
    ON CONFLICT DO NOTHING
), named AS (
    DELETE FROM archive_unnamed WHERE file = $4
)
INSERT INTO archive_part (kind, day, part, state, file, readings, bytes, sums, sha256, booked, oldest)
VALUES ($1, $2, $3, 'written', $4, $5, $6, $7::jsonb, $8, $9, $10)
