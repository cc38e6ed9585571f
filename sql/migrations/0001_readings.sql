-- History and current state of both kinds of device.
--
-- History is append-only and partitioned by UTC day. It has no primary key: no query reads one, and its index would
-- cost a quarter of the write rate. `id` orders rows of the same device and timestamp: the newest is the effective one.
-- The sequence hands out blocks to each session; a device's rows come from one session at a time, and a later session
-- gets a later block, so per device ids rise in the order of commit.
CREATE SEQUENCE reading_id AS bigint CACHE 1000;

CREATE TABLE meter_history (
    id bigint NOT NULL DEFAULT nextval('reading_id'),
    created_at timestamptz NOT NULL DEFAULT now(),
    "timestamp" timestamptz NOT NULL,
    meter_id varchar(50) NOT NULL,
    kwh_consumed_ac decimal(10, 4) NOT NULL,
    voltage decimal(6, 2) NOT NULL
) PARTITION BY RANGE ("timestamp");

CREATE TABLE vehicle_history (
    id bigint NOT NULL DEFAULT nextval('reading_id'),
    created_at timestamptz NOT NULL DEFAULT now(),
    "timestamp" timestamptz NOT NULL,
    vehicle_id varchar(50) NOT NULL,
    soc decimal(5, 2) NOT NULL,
    kwh_delivered_dc decimal(10, 4) NOT NULL,
    battery_temp decimal(5, 2) NOT NULL
) PARTITION BY RANGE ("timestamp");

-- Covering: a device's day is read from the index alone. Rows come out ordered by time and, at equal times, by id.
CREATE INDEX meter_history_covering ON meter_history (meter_id, "timestamp", id)
    INCLUDE (kwh_consumed_ac, voltage);
CREATE INDEX vehicle_history_covering ON vehicle_history (vehicle_id, "timestamp", id)
    INCLUDE (soc, kwh_delivered_dc, battery_temp);

-- One row a device, updated in place: room on the page and no index on a changing column keep the updates HOT.
CREATE TABLE meter_current (
    meter_id varchar(50) PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    kwh_consumed_ac decimal(10, 4) NOT NULL,
    voltage decimal(6, 2) NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE TABLE vehicle_current (
    vehicle_id varchar(50) PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    soc decimal(5, 2) NOT NULL,
    kwh_delivered_dc decimal(10, 4) NOT NULL,
    battery_temp decimal(5, 2) NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

-- Makes the partition of one kind and UTC day; true if it was missing. The table is created apart and then attached:
-- ATTACH takes a lock that lets COPY and queries go on, where CREATE ... PARTITION OF would stop them all.
-- The caller sets lock_timeout.
CREATE FUNCTION hseie_make_partition(kind text, day date) RETURNS boolean
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
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(child)) THEN
        RETURN false;
    END IF;
    IF to_regclass(child) IS NOT NULL THEN
        RAISE 'table % exists but is not a partition of %: attach or drop it', child, parent;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', child, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, day_start, day_end);
    RETURN true;
END
$$;
