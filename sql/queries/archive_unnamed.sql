-- The files of kind $1 and UTC day $2 that this database wrote, and that no part names.
SELECT file FROM archive_unnamed WHERE kind = $1 AND day = $2 AND written_by = hseie_archive_writer()
