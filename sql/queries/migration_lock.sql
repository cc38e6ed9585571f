-- One runner at a time in a database.
SELECT pg_advisory_lock(hashtext('hseie'), hashtext('migrate'))
