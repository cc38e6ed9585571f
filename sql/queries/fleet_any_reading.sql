-- The time of some reading before $1, usually from the oldest partition that has one; no row where there is none.
SELECT "timestamp" FROM {kind}_history WHERE "timestamp" < $1 LIMIT 1
