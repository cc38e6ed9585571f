-- Delete up to $2 of the hours of devices before $1. What lies in a range of time is found by its index on the bucket.
DELETE FROM {kind}_hour WHERE ctid = ANY(ARRAY(SELECT ctid FROM {kind}_hour WHERE bucket < $1 LIMIT $2))
