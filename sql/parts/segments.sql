-- Which meter feeds each vehicle when, between $3 and $4. CTEs; the last, `segment`, has rows (vehicle_id, meter_id or
-- null, starts, ends), without gaps, neighbours of one meter joined into one; `by_id` the meter that the ids say.
-- $1, $2: vehicles and their candidate meters by id, one element a candidate, the preferred first.
--
-- A row of device_pair wins over the ids for its time, for the vehicle and for the meter (a meter that a row gives to
-- another vehicle feeds nobody by its id meanwhile). Of rows that overlap the one with the later start wins.
candidate AS (
    SELECT vehicle_id, meter_id, place
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (vehicle_id, meter_id, place)
),
by_id AS (
    SELECT DISTINCT ON (candidate.vehicle_id) candidate.vehicle_id, known.meter_id
    FROM candidate
    LEFT JOIN meter_current AS known ON known.meter_id = candidate.meter_id
    ORDER BY candidate.vehicle_id, known.meter_id IS NULL, candidate.place
),
claim AS (
    SELECT 1 AS rank, by_id.vehicle_id, pair.meter_id, pair.valid_from, coalesce(pair.valid_to, 'infinity') AS valid_to
    FROM by_id
    JOIN device_pair AS pair ON pair.vehicle_id = by_id.vehicle_id
    WHERE pair.valid_from < $4 AND coalesce(pair.valid_to, 'infinity') > $3
    UNION ALL
    SELECT 2, by_id.vehicle_id, NULL, pair.valid_from, coalesce(pair.valid_to, 'infinity')
    FROM by_id
    JOIN device_pair AS pair ON pair.meter_id = by_id.meter_id AND pair.vehicle_id <> by_id.vehicle_id
    WHERE pair.valid_from < $4 AND coalesce(pair.valid_to, 'infinity') > $3
    UNION ALL
    SELECT 3, by_id.vehicle_id, by_id.meter_id, '-infinity', 'infinity'
    FROM by_id
),
edge AS (
    SELECT vehicle_id, greatest(valid_from, $3::timestamptz) AS at FROM claim
    UNION
    SELECT vehicle_id, least(valid_to, $4::timestamptz) FROM claim
),
piece AS (
    SELECT vehicle_id, at AS starts, lead(at) OVER (PARTITION BY vehicle_id ORDER BY at) AS ends
    FROM edge
),
fed AS (
    SELECT DISTINCT ON (piece.vehicle_id, piece.starts) piece.vehicle_id, piece.starts, piece.ends, claim.meter_id
    FROM piece
    JOIN claim
        ON claim.vehicle_id = piece.vehicle_id AND claim.valid_from <= piece.starts AND claim.valid_to >= piece.ends
    ORDER BY piece.vehicle_id, piece.starts, claim.rank, claim.valid_from DESC
),
change AS (
    SELECT *, meter_id IS DISTINCT FROM lag(meter_id) OVER (PARTITION BY vehicle_id ORDER BY starts) AS changed
    FROM fed
),
island AS (
    SELECT *, count(*) FILTER (WHERE changed) OVER (PARTITION BY vehicle_id ORDER BY starts) AS number
    FROM change
),
segment AS (
    SELECT vehicle_id, min(meter_id) AS meter_id, min(starts) AS starts, max(ends) AS ends
    FROM island
    GROUP BY vehicle_id, number
)
