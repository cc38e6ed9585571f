-- Finds, for the rows of `reading` (number, ac, at, kwh, battery_temp, event; one a number, side and time), the reading
-- of the other side that it is correlated with. $11: the tolerance.
--
-- Correlated: each the other's nearest in time with one number, at most the tolerance apart, equal distances to the
-- earlier. Nothing can lie between such a pair, so they are neighbours in the merged order, and no join is needed. And
-- where a reading's nearest lies before it, while the one just before has its nearest here, those two are of different
-- sides, or a third one would be nearer to either: it is enough to look at the neighbour's choice and energy. Each look
-- costs as much as reading the row. Frames are of rows, because those of equal times cost thrice as much; of two readings
-- at one time the vehicle's comes first, and it has the meter's at no distance behind it.
SELECT number, ac, at, kwh, battery_temp, event,
    CASE
        WHEN backwards THEN
            CASE WHEN lag(nearest) OVER merged = at AND at - earlier <= $11 THEN lag(kwh) OVER merged END
        WHEN lead(nearest) OVER merged = at AND later - at <= $11 THEN lead(kwh) OVER merged
    END AS partner_kwh
FROM (
    SELECT *, CASE WHEN backwards THEN earlier ELSE later END AS nearest
    FROM (
        SELECT *, later IS NULL OR at - earlier <= later - at AS backwards
        FROM (
            SELECT number, ac, at, kwh, battery_temp, event,
                CASE WHEN ac THEN vehicle_later ELSE meter_later END AS later,
                CASE
                    WHEN ac THEN max(at) FILTER (WHERE NOT ac) OVER up
                    ELSE max(at) FILTER (WHERE ac) OVER up
                END AS earlier
            FROM (
                SELECT *, min(at) FILTER (WHERE ac) OVER down AS meter_later,
                    min(at) FILTER (WHERE NOT ac) OVER down AS vehicle_later
                FROM reading
                WINDOW down AS (PARTITION BY number ORDER BY at DESC, ac DESC ROWS UNBOUNDED PRECEDING)
            ) AS with_later
            WINDOW up AS (PARTITION BY number ORDER BY at, ac ROWS UNBOUNDED PRECEDING)
        ) AS with_neighbours
    ) AS with_direction
) AS with_nearest
WINDOW merged AS (PARTITION BY number ORDER BY at, ac)
