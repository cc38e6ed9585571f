-- Those of the vehicles $1 that have ever reported.
SELECT vehicle_id FROM vehicle_current WHERE vehicle_id = ANY($1::text[])
