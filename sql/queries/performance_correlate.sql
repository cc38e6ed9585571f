-- The sums of what pieces count: of each vehicle where $19 is true, otherwise of all together. They add up: of two
-- pieces, and of a piece and a row of pair_hour. $1 to $18: see parts/meeting.sql. events: what happened to registers.
WITH
\ir ../parts/meeting.sql
SELECT
    CASE WHEN $19 THEN piece.vehicle_id END AS vehicle_id,
\ir ../parts/sums.sql
    , array_agg(DISTINCT event) FILTER (WHERE event IS NOT NULL) AS events
FROM meeting
JOIN piece USING (number)
WHERE meeting.at >= piece.counts_from AND meeting.at < piece.counts_until
GROUP BY 1
ORDER BY 1
