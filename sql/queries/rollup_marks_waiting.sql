-- How many marks wait; counted up to $1.
SELECT count(*) FROM (SELECT FROM rollup_mark LIMIT $1) AS waiting
