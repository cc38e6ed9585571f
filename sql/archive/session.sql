-- What each session begins with. DuckDB could keep the footers of files (parquet_metadata_cache), which would save a
-- third of a small query; but it takes six times as much memory for that as it counts, and the limit would not hold.
SET TimeZone = 'UTC';
-- Of files on a disk it caches nothing but their names, for ever.
SET enable_external_file_cache = false;
-- Here and not an option of the connection: as that, DuckDB before 2.0.1 takes it and does not keep to it.
SET max_temp_directory_size = '{temporary_mb}MB'
