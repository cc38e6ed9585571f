-- Whether the rollups of the UTC day from $1 to $2 are made and none of them is to be made anew. A reading an hour beside
-- the day may be what does that.
SELECT rolled_until >= $2 AND NOT EXISTS (
    SELECT FROM rollup_mark WHERE bucket >= $1::timestamptz - interval '1 hour' AND bucket <= $2
)
FROM rollup_state
