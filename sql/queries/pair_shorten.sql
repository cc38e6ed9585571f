-- Give the rows of vehicles $1 that begin at $2 the ends $3, one element a row.
UPDATE device_pair
SET valid_to = cut.valid_to
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS cut (vehicle_id, valid_from, valid_to)
WHERE device_pair.vehicle_id = cut.vehicle_id AND device_pair.valid_from = cut.valid_from
