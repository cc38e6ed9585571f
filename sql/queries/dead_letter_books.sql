-- One dead letter of journal $1 and kind $2 is in history after all. The only place where a retry moves the books.
UPDATE shard_book SET dead_lettered = dead_lettered - 1, stored = stored + 1 WHERE journal_id = $1 AND kind = $2
