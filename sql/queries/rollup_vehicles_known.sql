-- Of the vehicles $1 those that have sent anything. Others have no rollups, though a meter may be paired with them.
SELECT vehicle_id FROM vehicle_current WHERE vehicle_id = ANY($1::text[])
