-- Delete up to $2 events of registers before $1: they are kept as long as the hours they belong to.
DELETE FROM register_event
WHERE ctid = ANY(ARRAY(SELECT ctid FROM register_event WHERE "timestamp" < $1 LIMIT $2))
