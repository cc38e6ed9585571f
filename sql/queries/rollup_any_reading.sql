-- Whether history has any reading in [$1, $2).
SELECT EXISTS (SELECT FROM {kind}_history WHERE "timestamp" >= $1 AND "timestamp" < $2)
