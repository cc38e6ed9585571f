-- What the generator of bench/fleet_history.py keeps beside the node's own tables.
CREATE SCHEMA IF NOT EXISTS bench;

-- The fleet: pairs with the ids of the simulator, in the order in which they report within a minute, which is not that of
-- their ids. All values are whole: milliseconds, 0.1 Wh a minute, hundredths of volts, degrees and percent.
CREATE TABLE IF NOT EXISTS bench.pair (
    place integer NOT NULL,
    number integer NOT NULL,
    meter_id text NOT NULL,
    vehicle_id text NOT NULL,
    phase_ms integer NOT NULL,  -- of the meter, within the minute
    lag_ms integer NOT NULL,  -- of the vehicle behind it
    jitter_ms integer NOT NULL,  -- mask of the bits by which its clock is late
    rated_units integer NOT NULL,  -- 0.1 Wh a minute at full power
    efficiency_ppm integer NOT NULL,
    cycle_min integer NOT NULL,  -- charging and driving
    charging_min integer NOT NULL,
    shift_min integer NOT NULL,
    nominal_cv integer NOT NULL,
    site_cc integer NOT NULL
);

-- Up to where history was made.
CREATE TABLE IF NOT EXISTS bench.made (
    kind text PRIMARY KEY,
    starts timestamptz NOT NULL,
    until timestamptz NOT NULL
);

-- What partitions are made like. Not like the parents themselves: those would be locked for as long as a day is built.
CREATE TABLE IF NOT EXISTS bench.meter (LIKE meter_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
CREATE TABLE IF NOT EXISTS bench.vehicle (LIKE vehicle_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
