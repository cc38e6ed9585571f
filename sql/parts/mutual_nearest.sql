-- Finds, for the rows of `reading` (number, ac, at, kwh, battery_temp, event; one a number, side and time), the reading
-- of the other side that it is correlated with. $11: the tolerance.
--
-- Correlated: each the other's nearest in time with one number, at most the tolerance apart, equal distances to the
-- earlier. Nothing can lie between such a pair, so they are neighbours in the merged order, and no join is needed: a
-- reading looks at the one before it and at the one behind it. What the neighbour would choose follows from what is known
-- here: on its far side lies what this side has there. So it takes one look in each direction, in which each function
-- costs as much as reading the row. Frames are of rows, because those of equal times cost thrice as much; of two readings
-- at one time the vehicle's comes first.
SELECT number, ac, at, kwh, battery_temp, event,
    CASE
        -- The one before is of the other side, is the nearer one to this, and this to it.
        WHEN CASE WHEN ac THEN own_earlier < earlier ELSE own_earlier <= earlier END IS NOT FALSE
            AND at - earlier <= $11
            AND at - earlier <= later - at IS NOT FALSE
            AND at - earlier < earlier - own_earlier IS NOT FALSE
            THEN kwh_before
        WHEN CASE WHEN ac THEN later <= own_later ELSE later < own_later END IS NOT FALSE
            AND later - at <= $11
            AND later - at < at - earlier IS NOT FALSE
            AND later - at <= own_later - later IS NOT FALSE
            THEN kwh_behind
    END AS partner_kwh
FROM (
    SELECT number, ac, at, kwh, battery_temp, event, kwh_before, kwh_behind,
        CASE WHEN ac THEN vehicle_earlier ELSE meter_earlier END AS earlier,
        CASE WHEN ac THEN meter_earlier ELSE vehicle_earlier END AS own_earlier,
        CASE WHEN ac THEN vehicle_later ELSE meter_later END AS later,
        CASE WHEN ac THEN meter_later ELSE vehicle_later END AS own_later
    FROM (
        SELECT *, max(at) FILTER (WHERE ac) OVER up AS meter_earlier,
            max(at) FILTER (WHERE NOT ac) OVER up AS vehicle_earlier,
            lag(kwh) OVER up AS kwh_before, lead(kwh) OVER up AS kwh_behind
        FROM (
            SELECT *, min(at) FILTER (WHERE ac) OVER down AS meter_later,
                min(at) FILTER (WHERE NOT ac) OVER down AS vehicle_later
            FROM reading
            WINDOW down AS (
                PARTITION BY number ORDER BY at DESC, ac DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        ) AS with_later
        WINDOW up AS (PARTITION BY number ORDER BY at, ac ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ) AS with_neighbours
) AS with_neighbours
