-- Give up the dead letters $1 and note that in their books; how many there were.
WITH gone AS (
    DELETE FROM dead_letter WHERE id = ANY ($1::bigint[]) RETURNING journal_id, kind
), noted AS (
    UPDATE shard_book AS book SET dropped = book.dropped + counted.letters
    FROM (SELECT journal_id, kind, count(*) AS letters FROM gone GROUP BY journal_id, kind) AS counted
    WHERE book.journal_id = counted.journal_id AND book.kind = counted.kind
)
SELECT count(*) FROM gone
