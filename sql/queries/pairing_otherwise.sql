-- Vehicles that another meter feeds by their ids ('' for none) than their rollups were made with, at most $3, and how many
-- there are (`found`). $1, $2: the prefixes of vehicles and meters. The same rule as that of candidates in
-- hseie/pairing.py, for all vehicles at once: a test holds both together.
SELECT fed.vehicle_id, fed.meter_id, count(*) OVER () AS found
FROM (
    SELECT known.vehicle_id, coalesce(same.meter_id, prefixed.meter_id, bare.meter_id, '') AS meter_id
    FROM (
        SELECT vehicle_id,
            CASE WHEN starts_with(vehicle_id, $1) THEN substr(vehicle_id, length($1) + 1) ELSE vehicle_id END AS rest
        FROM vehicle_current
    ) AS known
    LEFT JOIN meter_current AS same ON same.meter_id = known.vehicle_id
    LEFT JOIN meter_current AS prefixed ON prefixed.meter_id = $2::text || known.rest
    -- One that begins with the meters' prefix has another rest itself.
    LEFT JOIN meter_current AS bare ON bare.meter_id = known.rest AND ($2 = '' OR NOT starts_with(known.rest, $2))
) AS fed
LEFT JOIN pair_by_id AS made USING (vehicle_id)
WHERE made.meter_id IS DISTINCT FROM fed.meter_id
LIMIT $3
