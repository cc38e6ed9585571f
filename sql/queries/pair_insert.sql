-- Add rows: vehicles $1 are fed by meters $2 (null: by nobody) from $3 until $4 (null: open), one element a row.
INSERT INTO device_pair (vehicle_id, meter_id, valid_from, valid_to)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
