-- The books, a row a journal and kind.
SELECT checkpoint.journal_id::text, checkpoint.shard, checkpoint.shards, book.kind,
    book.received, book.stored, book.duplicates, book.dead_lettered, book.dropped, book.stored_undated
FROM shard_book AS book
JOIN shard_checkpoint AS checkpoint USING (journal_id)
ORDER BY checkpoint.shards, checkpoint.shard, book.kind
