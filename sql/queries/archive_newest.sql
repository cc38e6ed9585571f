-- The time of the newest reading that any device has sent, null where there is none.
SELECT greatest((SELECT max("timestamp") FROM meter_current), (SELECT max("timestamp") FROM vehicle_current))
