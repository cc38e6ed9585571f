-- Makes the partition of one kind and UTC day, as the function of 0001_readings.sql that it replaces; but what another
-- session has made while this one waited is found by asking the catalog. to_regclass answered from a memory that waiting
-- for an advisory lock does not refresh, so that now and then the second of two writers tried to make the table again
-- (42P07), and stopped flushing.
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
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', child, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, day_start, day_end);
    RETURN true;
END
$$;
