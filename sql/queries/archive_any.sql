-- Whether history has a reading in [$1, $2), which is a UTC day.
SELECT EXISTS (SELECT FROM {kind}_history WHERE "timestamp" >= $1 AND "timestamp" < $2)
