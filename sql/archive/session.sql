-- What each session begins with.
SET TimeZone = 'UTC';
-- Files never change once archive_part names them, and reading their footers is half of a small query.
SET parquet_metadata_cache = true
