-- The partitions of a kind's history, and the UTC day that each is for. No day: one that somebody made by hand, of another
-- name, for other bounds than its name says, or for all that has no partition. Such a one is read and written like the
-- others, and left alone; `hseie status` names it. The name alone says nothing: a partition that is called after a day and
-- holds a month would leave history with its first day.
CREATE FUNCTION hseie_partitions(kind text) RETURNS TABLE (partition oid, day date)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT
        child.oid,
        CASE
            WHEN child.relnamespace = parent.relnamespace
                AND child.relname = kind || '_history' || to_char(starts.day, '_YYYY_MM_DD')
                AND expression.bound = format(
                    'FOR VALUES FROM (%L) TO (%L)',
                    starts.day::timestamp AT TIME ZONE 'UTC', (starts.day + 1)::timestamp AT TIME ZONE 'UTC'
                )
            THEN starts.day
        END
    FROM pg_inherits
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_class AS child ON child.oid = inhrelid
    -- OFFSET 0: made once, and not at each place that names them.
    CROSS JOIN LATERAL (SELECT pg_get_expr(child.relpartbound, child.oid) OFFSET 0) AS expression (bound)
    CROSS JOIN LATERAL (
        SELECT (substring(bound FROM '^FOR VALUES FROM \(''([^'']+)''\)')::timestamptz AT TIME ZONE 'UTC')::date
        OFFSET 0
    ) AS starts (day)
    WHERE inhparent = to_regclass(kind || '_history')
$$;

-- The UTC days of which a kind's history may have readings: those of its partitions. What the others have nobody can tell
-- without reading them; of all days that were ever stored the day books know.
CREATE FUNCTION hseie_days_of_history(kind text) RETURNS TABLE (day date)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT partitions.day FROM hseie_partitions(kind) AS partitions WHERE partitions.day IS NOT NULL
    UNION
    SELECT day_book.day
    FROM day_book
    WHERE day_book.kind = hseie_days_of_history.kind
        AND EXISTS (SELECT FROM hseie_partitions(hseie_days_of_history.kind) AS partitions WHERE partitions.day IS NULL)
$$;

-- As the function of 0010_archive.sql that it replaces; but what is not the partition of that day, and nothing else, stays.
CREATE OR REPLACE FUNCTION hseie_drop_partition(kind text, day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    child text := kind || '_history' || to_char(day, '_YYYY_MM_DD');
BEGIN
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', kind || '_history');
    IF NOT EXISTS (
        SELECT FROM hseie_partitions(kind) AS partitions
        WHERE partitions.partition = to_regclass(child) AND partitions.day = hseie_drop_partition.day
    ) THEN
        RAISE '% is not the partition of % alone', child, day;
    END IF;
    EXECUTE format('DROP TABLE %I', child);
END
$$;

-- Rollups of a range of time are found by a btree instead of a BRIN index. Once old hours are deleted their pages are used
-- again, and the summary of such pages reaches from the oldest bucket that was ever there to the newest: of 60 days that are
-- kept, after 40 days of deleting, half a day a month ago read 50 times as many pages as before (12,239 against 241; the
-- whole of what had come since). It costs 10 bytes a rollup, since equal keys share an entry, and no time that could be
-- measured when hours are written.
DROP INDEX meter_hour_bucket, vehicle_hour_bucket, pair_hour_bucket, meter_day_bucket, vehicle_day_bucket, pair_day_bucket;
CREATE INDEX meter_hour_bucket ON meter_hour (bucket);
CREATE INDEX vehicle_hour_bucket ON vehicle_hour (bucket);
CREATE INDEX pair_hour_bucket ON pair_hour (bucket);
CREATE INDEX meter_day_bucket ON meter_day (bucket);
CREATE INDEX vehicle_day_bucket ON vehicle_day (bucket);
CREATE INDEX pair_day_bucket ON pair_day (bucket);
