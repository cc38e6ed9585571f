-- Whether a reading of vehicle $1 was ever stored.
SELECT EXISTS (SELECT FROM vehicle_current WHERE vehicle_id = $1)
