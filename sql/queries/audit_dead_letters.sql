-- Dead letters, a row a kind.
SELECT kind, count(*) AS parked FROM dead_letter GROUP BY kind
