-- What a register of a day that was given up (retention.then = "drop") showed last, of each device: the next reading is
-- compared with that. Of all devices, for which of them send a running total is a matter of configuration. A row a
-- device: days are given up in their order, and of a later one the later reading stays.
CREATE TABLE meter_given_up (
    meter_id varchar(50) PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    id bigint NOT NULL,
    kwh_consumed_ac decimal(10, 4) NOT NULL,
    voltage decimal(6, 2) NOT NULL
) WITH (fillfactor = 90);

CREATE TABLE vehicle_given_up (
    vehicle_id varchar(50) PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    id bigint NOT NULL,
    soc decimal(5, 2) NOT NULL,
    kwh_delivered_dc decimal(10, 4) NOT NULL,
    battery_temp decimal(5, 2) NOT NULL
) WITH (fillfactor = 90);
