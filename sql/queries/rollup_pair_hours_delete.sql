-- Delete up to $2 of the hours of pairs before $1.
DELETE FROM pair_hour WHERE ctid = ANY(ARRAY(SELECT ctid FROM pair_hour WHERE bucket < $1 LIMIT $2))
