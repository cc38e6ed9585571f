-- Delete the rows of vehicles $1 that begin at $2, one element a row.
DELETE FROM device_pair
USING unnest($1::text[], $2::timestamptz[]) AS gone (vehicle_id, valid_from)
WHERE device_pair.vehicle_id = gone.vehicle_id AND device_pair.valid_from = gone.valid_from
