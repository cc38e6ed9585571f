-- File $1 of kind $2 and UTC day $3 has its name, and no part names it yet: it is removed if none ever does.
INSERT INTO archive_unnamed (file, kind, day) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
