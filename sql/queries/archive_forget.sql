-- Forget the parts of kind $1 and UTC day $2 whose rows are still in history: they are written anew.
WITH forgotten AS (
    DELETE FROM archive_part WHERE kind = $1 AND day = $2 AND state = 'written' RETURNING file, kind, day, written_by
)
INSERT INTO archive_unnamed (file, kind, day, written_by)
SELECT file, kind, day, written_by FROM forgotten
ON CONFLICT DO NOTHING
