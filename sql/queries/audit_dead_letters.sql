-- Dead letters, a row a journal and kind.
SELECT journal_id::text, kind, count(*) AS parked FROM dead_letter GROUP BY journal_id, kind
