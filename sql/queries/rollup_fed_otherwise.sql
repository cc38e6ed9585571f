-- How many of the vehicles $1, fed by the meters $2 beside them by their ids now ('' for none), have rollups in [$3, $4), or
-- should have with that meter or with one that device_pair gives to them.
SELECT count(*) AS vehicles
FROM unnest($1::text[], $2::text[]) AS asked (vehicle_id, meter_id)
WHERE EXISTS (
        SELECT FROM pair_hour WHERE vehicle_id = asked.vehicle_id AND bucket >= $3 AND bucket < $4
    )
    OR EXISTS (
        SELECT FROM pair_day
        WHERE vehicle_id = asked.vehicle_id AND bucket >= date_trunc('day', $3::timestamptz, 'UTC') AND bucket < $4
    )
    OR EXISTS (
        SELECT
        FROM (
            SELECT asked.meter_id
            UNION
            SELECT meter_id FROM device_pair
            WHERE vehicle_id = asked.vehicle_id AND valid_from < $4 AND coalesce(valid_to, 'infinity') > $3
        ) AS fed
        WHERE EXISTS (
                SELECT FROM meter_hour WHERE meter_hour.meter_id = fed.meter_id AND bucket >= $3 AND bucket < $4
            )
            OR EXISTS (
                SELECT FROM meter_day
                WHERE meter_day.meter_id = fed.meter_id
                    AND bucket >= date_trunc('day', $3::timestamptz, 'UTC') AND bucket < $4
            )
    )
