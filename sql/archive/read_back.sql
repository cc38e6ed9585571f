-- A file as lines of COPY text, for history.
COPY (
    SELECT id, make_timestamp(epoch_us("timestamp") + created_after_us), make_timestamp(epoch_us("timestamp")),
        {id}, {values}
    FROM read_parquet({source})
) TO {target} (FORMAT csv, DELIMITER '\t', HEADER false, QUOTE '', ESCAPE '', USE_TMP_FILE false)
