-- Park refused lines of journal $1, kind $2, each with its SQLSTATE and reason.
INSERT INTO dead_letter (journal_id, kind, original, sqlstate, reason)
SELECT $1::uuid, $2::text, refused.* FROM unnest($3::text[], $4::text[], $5::text[]) AS refused
