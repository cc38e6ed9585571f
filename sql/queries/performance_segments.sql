-- Which meter feeds each vehicle when, between $3 and $4, in order. $1, $2: see parts/segments.sql.
WITH
\ir ../parts/segments.sql
SELECT * FROM segment ORDER BY vehicle_id, starts
