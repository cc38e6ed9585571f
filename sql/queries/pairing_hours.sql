-- The hours before $3 of which the vehicles $1 have rollups of pairs, or should have with the meters $2 beside them and
-- those that device_pair gives to them. Before $4 hours are not kept any more: there a day stands for all of its hours.
SELECT asked.vehicle_id, hour.bucket
FROM unnest($1::text[], $2::text[]) AS asked (vehicle_id, meter_id)
CROSS JOIN LATERAL (
    SELECT bucket FROM pair_hour WHERE vehicle_id = asked.vehicle_id AND bucket >= $4 AND bucket < $3
    UNION
    SELECT bucket FROM vehicle_hour WHERE vehicle_id = asked.vehicle_id AND bucket >= $4 AND bucket < $3
    UNION
    SELECT bucket FROM meter_hour WHERE meter_id = asked.meter_id AND bucket >= $4 AND bucket < $3
    UNION
    SELECT fed.bucket
    FROM device_pair AS pair
    JOIN meter_hour AS fed ON fed.meter_id = pair.meter_id
    WHERE pair.vehicle_id = asked.vehicle_id AND fed.bucket >= $4 AND fed.bucket < $3
        AND fed.bucket > pair.valid_from - interval '1 hour' AND fed.bucket < coalesce(pair.valid_to, 'infinity')
    UNION
    SELECT bucket FROM pair_day WHERE vehicle_id = asked.vehicle_id AND bucket < $4
    UNION
    SELECT bucket FROM vehicle_day WHERE vehicle_id = asked.vehicle_id AND bucket < $4
    UNION
    SELECT bucket FROM meter_day WHERE meter_id = asked.meter_id AND bucket < $4
    UNION
    SELECT fed.bucket
    FROM device_pair AS pair
    JOIN meter_day AS fed ON fed.meter_id = pair.meter_id
    WHERE pair.vehicle_id = asked.vehicle_id AND fed.bucket < $4
        AND fed.bucket > pair.valid_from - interval '1 day' AND fed.bucket < coalesce(pair.valid_to, 'infinity')
) AS hour
ORDER BY asked.vehicle_id, hour.bucket
