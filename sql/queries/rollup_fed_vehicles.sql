-- Which vehicles each of the meters $1 feeds, or has fed, in the hour $2 beside it or $3 before or after: by a row of
-- device_pair, or by the ids. Vehicles that have sent nothing yet have no rollups.
SELECT asked.meter_id, asked.bucket, fed.vehicle_id
FROM unnest($1::text[], $2::timestamptz[]) AS asked (meter_id, bucket)
CROSS JOIN LATERAL (
    SELECT vehicle_id
    FROM device_pair
    JOIN vehicle_current USING (vehicle_id)
    WHERE device_pair.meter_id = asked.meter_id
        AND valid_from < asked.bucket + interval '1 hour' + $3::interval
        AND coalesce(valid_to, 'infinity') > asked.bucket - $3::interval
    UNION
    SELECT vehicle_id FROM pair_by_id WHERE pair_by_id.meter_id = asked.meter_id
) AS fed
