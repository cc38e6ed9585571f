-- The next $2 vehicles after $1, by id. Also those that are silent: their meters may not be.
SELECT vehicle_id FROM vehicle_current WHERE vehicle_id > $1 ORDER BY vehicle_id LIMIT $2
