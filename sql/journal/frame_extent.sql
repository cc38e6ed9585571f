-- The oldest frame, the newest, and the bytes of all.
SELECT min(seq), max(seq), coalesce(sum(length(body)), 0) FROM frame
