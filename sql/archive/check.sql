-- What archive_count says of a day, said of a file; the day's start in microseconds since 1970.
SELECT
    count(*),
    [
        CAST(coalesce(sum(id), 0) AS VARCHAR),
        CAST(coalesce(sum(created_after_us), 0) AS VARCHAR),
        CAST(coalesce(sum(epoch_us("timestamp") - $start), 0) AS VARCHAR),
        {sums}
    ]
FROM read_parquet($file)
