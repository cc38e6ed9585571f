-- Vehicles with a reading since $1, at most $2.
SELECT vehicle_id FROM vehicle_current WHERE "timestamp" >= $1 LIMIT $2
