-- Park a refused line ($3) of journal $1 and kind $2 with its SQLSTATE and reason. Its id in history is drawn now, by the
-- session that stores its neighbours: below what comes after it, above what came before.
INSERT INTO dead_letter (journal_id, kind, original, sqlstate, reason) VALUES ($1, $2, $3, $4, $5)
