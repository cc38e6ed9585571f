-- The fleet by its devices' newest readings.
SELECT
    vehicle.total AS total_vehicles, meter.total AS total_meters,
    vehicle.avg_soc, vehicle.avg_battery_temp,
    greatest(vehicle.latest, meter.latest) AS latest_reading
FROM
    (
        SELECT count(*) AS total, max("timestamp") AS latest,
            round(avg(soc), 2) AS avg_soc, round(avg(battery_temp), 2) AS avg_battery_temp
        FROM vehicle_current
    ) AS vehicle,
    (SELECT count(*) AS total, max("timestamp") AS latest FROM meter_current) AS meter
