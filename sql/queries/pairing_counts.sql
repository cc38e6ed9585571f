-- How many vehicles and meters have ever sent, and how many vehicles have rollups of which is known with which meter by id
-- they were made.
SELECT
    (SELECT count(*) FROM vehicle_current) AS vehicles,
    (SELECT count(*) FROM meter_current) AS meters,
    (SELECT count(*) FROM pair_by_id) AS paired
