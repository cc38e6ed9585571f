-- Which meter feeds which vehicle, where the ids do not say it. Half-open in time; a null end is open.
-- A row wins over the ids for its time only, so that re-pairing never rewrites the past.
CREATE TABLE device_pair (
    vehicle_id varchar(50) NOT NULL,
    meter_id varchar(50) NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    PRIMARY KEY (vehicle_id, valid_from),
    CHECK (valid_to IS NULL OR valid_to > valid_from)
);

-- The other way round: a meter that a row gives to one vehicle feeds no other by its id meanwhile.
CREATE INDEX device_pair_meter ON device_pair (meter_id, valid_from);
