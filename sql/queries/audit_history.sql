-- Rows in history from UTC day $1 on, a row a day that has any. Reads each row once; a partition is a day.
SELECT (min("timestamp") AT TIME ZONE 'UTC')::date AS day, count(*) AS readings
FROM {kind}_history
WHERE "timestamp" >= $1::date
GROUP BY tableoid
