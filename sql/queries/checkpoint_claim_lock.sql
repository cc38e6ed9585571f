-- Journals that PostgreSQL does not know yet are claimed one after the other, so that of two nodes one sees the other.
SELECT pg_advisory_xact_lock(hashtext('hseie claim'))
