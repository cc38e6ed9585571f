-- The rollups of the vehicles $1 are made with the meters $2 by id, '' for none.
INSERT INTO pair_by_id (vehicle_id, meter_id)
SELECT vehicle_id, meter_id FROM unnest($1::text[], $2::text[]) AS given (vehicle_id, meter_id)
ON CONFLICT (vehicle_id) DO UPDATE SET meter_id = excluded.meter_id
