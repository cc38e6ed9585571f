-- The files $1 are not there any more.
DELETE FROM archive_unnamed WHERE file = ANY($1::text[])
