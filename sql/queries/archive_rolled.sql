-- Whether all rollups that need the UTC day from $1 to $2 are made and none of them is to be made anew. Pairs need it in
-- the hour before it and the hour after it too; a reading an hour beside those may be what has them made anew.
SELECT rolled_until >= $2::timestamptz + interval '1 hour' AND NOT EXISTS (
    SELECT FROM rollup_mark
    WHERE bucket >= $1::timestamptz - interval '2 hours' AND bucket <= $2::timestamptz + interval '1 hour'
)
FROM rollup_state
