-- What the archive's folder has to say too, and whether any file is named, so that the folder has to be there.
SELECT id::text AS identity, EXISTS (SELECT FROM archive_part WHERE file <> '') AS used FROM archive_identity
