-- Add to the day books of journal $1: of kind $2 and UTC day $3 (text, as in COPY lines), $4 rows were stored.
INSERT INTO day_book (journal_id, kind, day, stored)
SELECT $1::uuid, added.kind, added.day::date, added.stored
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS added (kind, day, stored)
ON CONFLICT (journal_id, kind, day) DO UPDATE SET stored = day_book.stored + excluded.stored
