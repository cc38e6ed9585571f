-- Delete up to $2 of the days of pairs before $1.
DELETE FROM pair_day WHERE ctid = ANY(ARRAY(SELECT ctid FROM pair_day WHERE bucket < $1 LIMIT $2))
