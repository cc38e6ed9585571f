-- Pairings of vehicle $1 and meter $2 where these are given, in state $3 ('current', 'planned', 'ended', 'all'), by
-- vehicle and start: at most $6 of them, behind the one of vehicle $4 that begins at $5 where these are given.
SELECT vehicle_id, meter_id, valid_from, valid_to
FROM device_pair
WHERE ($1::text IS NULL OR vehicle_id = $1)
    AND ($2::text IS NULL OR meter_id = $2)
    AND CASE $3::text
        WHEN 'current' THEN valid_from <= now() AND coalesce(valid_to, 'infinity') > now()
        WHEN 'planned' THEN valid_from > now()
        WHEN 'ended' THEN valid_to <= now()
        ELSE true
    END
    AND ($4::text IS NULL OR (vehicle_id, valid_from) > ($4, $5::timestamptz))
ORDER BY vehicle_id, valid_from
LIMIT $6
