-- The rows of pair_hour, in the order of its columns, for pieces whose counts_from and counts_until are whole hours, or
-- where the piece starts and ends. $1 to $18: see parts/meeting.sql.
WITH
\ir meeting.sql
,
-- Grouped while rows are narrow, named afterwards.
hour AS (
    SELECT number, date_bin('1 hour', at, '2000-01-01T00:00:00Z') AS bucket,
\ir sums.sql
    FROM meeting
    GROUP BY number, 2
)
SELECT piece.vehicle_id, hour.bucket, coalesce(piece.meter_id, '') AS meter_id,
\ir pair_sums.sql
FROM hour
JOIN piece USING (number)
-- What was only read lies in the hours before and after.
WHERE hour.bucket < piece.counts_until AND hour.bucket > piece.counts_from - interval '1 hour'
-- A meter that came, went and came again within an hour has two pieces there.
GROUP BY piece.vehicle_id, hour.bucket, 3
