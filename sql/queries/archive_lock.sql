-- Whether this session may change the archive now, until it ends: one does so at a time.
SELECT pg_try_advisory_lock(hashtext('hseie archive'), 0)
