-- How many marks of late readings wait that may change rollups of [$1, $2): a reading just outside of an hour may belong
-- to a pair inside.
SELECT count(*) AS pending FROM rollup_mark
WHERE bucket >= $1::timestamptz - interval '1 hour' AND bucket <= $2::timestamptz
