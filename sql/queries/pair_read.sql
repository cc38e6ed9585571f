-- All rows of vehicles $1 and of meters $2, whenever they are valid.
SELECT vehicle_id, meter_id, valid_from, valid_to
FROM device_pair
WHERE vehicle_id = ANY($1::text[]) OR meter_id = ANY($2::text[])
