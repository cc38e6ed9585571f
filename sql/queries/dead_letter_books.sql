-- One dead letter of journal $1, kind $2 and UTC day $3 is in history after all. The only place where a retry moves the
-- books.
WITH moved AS (
    UPDATE shard_book SET dead_lettered = dead_lettered - 1, stored = stored + 1 WHERE journal_id = $1 AND kind = $2
)
INSERT INTO day_book (journal_id, kind, day, stored) VALUES ($1, $2, $3, 1)
ON CONFLICT (journal_id, kind, day) DO UPDATE SET stored = day_book.stored + 1
