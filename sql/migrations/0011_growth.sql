-- Partitions are only ever inserted into, and then left alone. Two things follow that the defaults of a server miss.
--
-- Index-only scans need pages that vacuum has marked visible. The threshold is a number of rows and a share of the table,
-- so that a day of 14 million rows is vacuumed about twenty times while it fills, and one of 100,000 once it is over
-- (hseie/maintenance/vacuum.py). Each run reads only the pages that came since the last one. Rows are frozen in the same
-- run: they never change, and would otherwise be read and written again months later, all days at once.
CREATE FUNCTION hseie_partition_storage() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT
    'autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 0.2, '
    'autovacuum_analyze_threshold = 100000, autovacuum_analyze_scale_factor = 0.2, '
    'autovacuum_freeze_min_age = 0'
$$;

-- As the function of 0008_partitions_made_at_once.sql that it replaces, with the above.
CREATE OR REPLACE FUNCTION hseie_make_partition(kind text, day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    parent text := kind || '_history';
    child text := parent || to_char(day, '_YYYY_MM_DD');
    day_start timestamptz := day::timestamp AT TIME ZONE 'UTC';
    day_end timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
        RETURN false;
    END IF;
    -- Two writers may need the same day at once; the second waits here and then finds it made.
    PERFORM pg_advisory_xact_lock(hashtext('hseie partition'), hashtext(child));
    IF EXISTS (
        SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = to_regclass(parent) AND relname = child
    ) THEN
        RETURN false;
    END IF;
    IF EXISTS (
        SELECT FROM pg_class
        WHERE relname = child AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
    ) THEN
        RAISE 'table % exists but is not a partition of %: attach or drop it', child, parent;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) WITH (%s)',
        child, parent, hseie_partition_storage()
    );
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, day_start, day_end);
    RETURN true;
END
$$;

-- The partitions there are. The lock lets COPY and queries go on; where somebody else holds one like it, a partition stays
-- as it is after a second: it works without, and maintenance vacuums it too.
DO $$
DECLARE
    child regclass;
BEGIN
    SET LOCAL lock_timeout = '1s';
    FOR child IN
        SELECT inhrelid FROM pg_inherits WHERE inhparent IN ('meter_history'::regclass, 'vehicle_history'::regclass)
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE %s SET (%s)', child, hseie_partition_storage());
        EXCEPTION
            WHEN lock_not_available THEN
                RAISE WARNING '% is locked: its settings for autovacuum stay as they are', child;
        END;
    END LOOP;
    SET LOCAL lock_timeout = DEFAULT;
END
$$;

-- Rollups grow by rows too, and a BRIN index knows the newest pages only once vacuum has been there: what it does not know
-- is read by every question for a range of time. A number of rows, whatever the size: a share of years would be months.
ALTER TABLE meter_hour SET (autovacuum_vacuum_insert_threshold = 200000, autovacuum_vacuum_insert_scale_factor = 0);
ALTER TABLE vehicle_hour SET (autovacuum_vacuum_insert_threshold = 200000, autovacuum_vacuum_insert_scale_factor = 0);
ALTER TABLE pair_hour SET (autovacuum_vacuum_insert_threshold = 200000, autovacuum_vacuum_insert_scale_factor = 0);
ALTER TABLE meter_day SET (autovacuum_vacuum_insert_threshold = 50000, autovacuum_vacuum_insert_scale_factor = 0);
ALTER TABLE vehicle_day SET (autovacuum_vacuum_insert_threshold = 50000, autovacuum_vacuum_insert_scale_factor = 0);
ALTER TABLE pair_day SET (autovacuum_vacuum_insert_threshold = 50000, autovacuum_vacuum_insert_scale_factor = 0);
