-- Rollups: sums of effective readings by hour and UTC day, of each device and of each pair. They answer long ranges and
-- outlive the rows. A bucket is named by its start. Hours are made from history, days from hours.
--
-- Rows of one bucket are written together, so a BRIN index on the bucket finds what lies in a range of time, and the
-- primary key what belongs to one device. fillfactor: a late reading updates a row where it is.
CREATE TABLE meter_hour (
    meter_id varchar(50) NOT NULL,
    bucket timestamptz NOT NULL,
    readings bigint NOT NULL,
    kwh_consumed_ac numeric NOT NULL,
    voltage_first numeric NOT NULL,
    voltage_last numeric NOT NULL,
    voltage_min numeric NOT NULL,
    voltage_max numeric NOT NULL,
    voltage_sum numeric NOT NULL,
    PRIMARY KEY (meter_id, bucket)
) WITH (fillfactor = 90);

CREATE TABLE vehicle_hour (
    vehicle_id varchar(50) NOT NULL,
    bucket timestamptz NOT NULL,
    readings bigint NOT NULL,
    kwh_delivered_dc numeric NOT NULL,
    soc_first numeric NOT NULL,
    soc_last numeric NOT NULL,
    soc_min numeric NOT NULL,
    soc_max numeric NOT NULL,
    soc_sum numeric NOT NULL,
    battery_temp_first numeric NOT NULL,
    battery_temp_last numeric NOT NULL,
    battery_temp_min numeric NOT NULL,
    battery_temp_max numeric NOT NULL,
    battery_temp_sum numeric NOT NULL,
    PRIMARY KEY (vehicle_id, bucket)
) WITH (fillfactor = 90);

-- A pair: a vehicle and the meter that fed it in a part of the bucket; meter_id is '' where none is known. A correlated
-- pair of readings belongs where its vehicle reading is, a lone reading where it is.
CREATE TABLE pair_hour (
    vehicle_id varchar(50) NOT NULL,
    bucket timestamptz NOT NULL,
    meter_id varchar(50) NOT NULL,
    meter_readings bigint NOT NULL,
    vehicle_readings bigint NOT NULL,
    correlated bigint NOT NULL,
    ac_kwh numeric NOT NULL,
    dc_kwh numeric NOT NULL,
    uncorrelated_ac_kwh numeric NOT NULL,
    uncorrelated_dc_kwh numeric NOT NULL,
    battery_temp_sum numeric NOT NULL,  -- over all effective readings of the vehicle
    PRIMARY KEY (vehicle_id, bucket, meter_id)
) WITH (fillfactor = 90);

-- LIKE copies no storage parameters.
CREATE TABLE meter_day (LIKE meter_hour INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE vehicle_day (LIKE vehicle_hour INCLUDING ALL) WITH (fillfactor = 90);
CREATE TABLE pair_day (LIKE pair_hour INCLUDING ALL) WITH (fillfactor = 90);

CREATE INDEX meter_hour_bucket ON meter_hour USING brin (bucket) WITH (pages_per_range = 16);
CREATE INDEX vehicle_hour_bucket ON vehicle_hour USING brin (bucket) WITH (pages_per_range = 16);
CREATE INDEX pair_hour_bucket ON pair_hour USING brin (bucket) WITH (pages_per_range = 16);
CREATE INDEX meter_day_bucket ON meter_day USING brin (bucket) WITH (pages_per_range = 16);
CREATE INDEX vehicle_day_bucket ON vehicle_day USING brin (bucket) WITH (pages_per_range = 16);
CREATE INDEX pair_day_bucket ON pair_day USING brin (bucket) WITH (pages_per_range = 16);

-- By which meter each vehicle is fed judging by the ids ('': none), as all its rollups of pairs say it, device_pair and
-- marks apart. A meter that becomes known may change that for the whole past, and so does a vehicle that becomes known:
-- what is not here, or not the same as the ids say now, has rollups of pairs that are not to be used.
CREATE TABLE pair_by_id (
    vehicle_id varchar(50) PRIMARY KEY,
    meter_id varchar(50) NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX pair_by_id_meter ON pair_by_id (meter_id);

-- One row. Whoever stores a reading before `closed_until` plus `margin` marks its hour in the same transaction. Rollups are there,
-- marks apart, for the hours before `rolled_until`, which is never above. `settings`: what rollups depend on besides the
-- rows (tolerance, prefixes, registers) as it was when they were made; with other settings they are made anew.
--
-- closed_until rises only under the exclusive advisory lock that hseie_rollup_lock names, and a flush holds it shared
-- from before it reads closed_until to its end: so what a flush stores is either there when the hour is read, or marked.
CREATE TABLE rollup_state (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    closed_until timestamptz NOT NULL,
    rolled_until timestamptz NOT NULL,
    settings text NOT NULL DEFAULT '',
    -- Whole minutes from the start of an hour in which a reading may be a neighbour of what lies in the hour before: twice
    -- the tolerance. What comes for them once that hour is closed is marked too.
    margin interval NOT NULL DEFAULT '1 minute',
    -- Older hours and days are not kept any more, or only in part: see [retention].
    hours_from timestamptz NOT NULL DEFAULT '-infinity',
    days_from timestamptz NOT NULL DEFAULT '-infinity',
    CHECK (rolled_until <= closed_until),
    CHECK (closed_until = date_trunc('hour', closed_until, 'UTC')),
    CHECK (rolled_until = date_trunc('hour', rolled_until, 'UTC'))
) WITH (fillfactor = 50);

-- Whoever looks for readings to roll up begins here; nothing is closed yet. Maintenance goes on from the oldest row.
INSERT INTO rollup_state (closed_until, rolled_until) VALUES ('-infinity', '-infinity');

CREATE FUNCTION hseie_rollup_lock() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT 7226449154112000009 $$;

-- Buckets to be made anew: the device's hour holds a reading that came after it was closed. Appended by flushes without
-- looking (a device and hour may stand there several times), taken away by id, so that a mark which comes while its
-- bucket is made anew remains for the next round. kind 'pair': the vehicle's pairing has changed, its readings have not.
--
-- Each session draws its ids a thousand at a time, so they are in the order of time only roughly. As a queue, the table
-- is vacuumed after a number of rows, not a share: empty or not, what was taken away is in the way of every look.
CREATE TABLE rollup_mark (
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000) PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('meter', 'vehicle', 'pair')),
    device_id varchar(50) NOT NULL,
    bucket timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX rollup_mark_device ON rollup_mark (device_id, bucket);

-- What happened to the registers of devices that send a running total: see hseie_register_event.
CREATE TABLE register_event (
    kind text NOT NULL CHECK (kind IN ('meter', 'vehicle')),
    device_id varchar(50) NOT NULL,
    "timestamp" timestamptz NOT NULL,
    event text NOT NULL,  -- 'reset', 'rollover', 'replaced', 'jump'
    before numeric NOT NULL,
    after numeric NOT NULL,
    kwh numeric NOT NULL,  -- what was counted for the step
    PRIMARY KEY (kind, device_id, "timestamp")
);

-- How far back the reading may lie that a register's is compared with. Beyond, it counts as the first.
CREATE FUNCTION hseie_register_reach() RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT interval '35 days' $$;

-- The smallest power of ten above a register, at which one with so many digits before the point rolls over. None has
-- fewer than four.
CREATE FUNCTION hseie_register_capacity(shown numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT ('1' || repeat('0', greatest(4, length(trunc(shown)::text))))::numeric $$;

-- The most that can have flown in a time, and one kWh for coarse registers; what is more is not believed.
CREATE FUNCTION hseie_register_kwh_max(elapsed interval, power_max_kw numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT power_max_kw * extract(epoch FROM elapsed) / 3600 + 1 $$;

-- What happened to a register that showed `before` kWh, and `after` kWh when the time `elapsed` had passed.
--   null        nothing: it is the first reading (`before` is null), or it went up as it can
--   'jump'      it went up by more than can have flown
--   'rollover'  it went down, from the last tenth below its capacity, and over it as far as it can
--   'reset'     it went down, to where it can have come from zero
--   'replaced'  it went down otherwise: by another device with another total
-- Plain expressions, which PostgreSQL puts in place of the calls: a fleet's hour has a million steps.
CREATE FUNCTION hseie_register_event(before numeric, after numeric, elapsed interval, power_max_kw numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN before IS NULL THEN NULL
        WHEN after >= before THEN
            CASE WHEN after - before > hseie_register_kwh_max(elapsed, power_max_kw) THEN 'jump' END
        WHEN before >= hseie_register_capacity(before) * 0.9
            AND after + hseie_register_capacity(before) - before <= hseie_register_kwh_max(elapsed, power_max_kw)
            THEN 'rollover'
        WHEN after <= hseie_register_kwh_max(elapsed, power_max_kw) THEN 'reset'
        ELSE 'replaced'
    END
$$;

-- The energy in kWh that such a step counts for. Never negative, never more than can have flown: after a reset what the
-- register shows since, and nothing for a first reading, a jump or another device's total.
CREATE FUNCTION hseie_register_kwh(event text, before numeric, after numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN before IS NULL THEN 0
        WHEN event IS NULL THEN after - before
        WHEN event = 'rollover' THEN after + hseie_register_capacity(before) - before
        WHEN event = 'reset' THEN after
        ELSE 0
    END
$$;

-- A pairing without a meter: nobody feeds the vehicle, whatever its id says.
ALTER TABLE device_pair ALTER COLUMN meter_id DROP NOT NULL;

-- Counts the statements that have changed any row of the rollups of pairs. Who keeps an answer made from them keeps this number with it:
-- while it is the same, the answer is true. Marks do not tell: one that comes and is consumed between two looks leaves
-- nothing behind. Apart from rollup_state, because its row is locked as long as rollups are written.
CREATE TABLE rollup_change (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    number bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO rollup_change (number) VALUES (0);

CREATE FUNCTION hseie_rollup_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A statement that finds all as it should be has changed nothing, and answers that were kept stay true.
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM changed) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE rollup_change SET number = number + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER pair_hour_insert AFTER INSERT ON pair_hour REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_hour_update AFTER UPDATE ON pair_hour REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_hour_delete AFTER DELETE ON pair_hour REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_hour_truncate AFTER TRUNCATE ON pair_hour
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_day_insert AFTER INSERT ON pair_day REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_day_update AFTER UPDATE ON pair_day REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_day_delete AFTER DELETE ON pair_day REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
CREATE TRIGGER pair_day_truncate AFTER TRUNCATE ON pair_day
    FOR EACH STATEMENT EXECUTE FUNCTION hseie_rollup_changed();
