-- The day books, a row a journal, kind and UTC day.
SELECT journal_id::text, kind, day, stored FROM day_book
