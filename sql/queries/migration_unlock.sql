SELECT pg_advisory_unlock(hashtext('hseie'), hashtext('migrate'))
