-- Delete up to $2 of the days of devices before $1. What lies in a range of time is found by its index on the bucket.
DELETE FROM {kind}_day WHERE ctid = ANY(ARRAY(SELECT ctid FROM {kind}_day WHERE bucket < $1 LIMIT $2))
