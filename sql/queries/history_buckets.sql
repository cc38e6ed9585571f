-- The effective readings of a device in buckets of width {after_given} (an interval that divides a day, or a day; counted
-- from midnight UTC), with the columns of rollups. All other parameters: see parts/effective.sql. Pieces begin and end
-- with buckets, and do not overlap.
WITH
\ir ../parts/effective.sql
SELECT date_bin({after_given}::interval, at, '2000-01-01T00:00:00Z') AS bucket, {rolled_readings}
FROM effective
GROUP BY 1
ORDER BY 1
