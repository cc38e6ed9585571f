-- Of the vehicles $1 with their candidate meters $2 (as performance_segments has them) those whose meter by id ('' for
-- none) is another one than that with which their rollups were made.
SELECT by_id.vehicle_id, by_id.meter_id
FROM (
    SELECT DISTINCT ON (candidate.vehicle_id) candidate.vehicle_id, coalesce(known.meter_id, '') AS meter_id
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS candidate (vehicle_id, meter_id, place)
    LEFT JOIN meter_current AS known ON known.meter_id = candidate.meter_id
    ORDER BY candidate.vehicle_id, known.meter_id IS NULL, candidate.place
) AS by_id
LEFT JOIN pair_by_id AS made USING (vehicle_id)
WHERE made.meter_id IS DISTINCT FROM by_id.meter_id
ORDER BY by_id.vehicle_id
