-- Let no hour be closed before the end of this transaction. Others who store may hold this lock beside us.
SELECT pg_advisory_xact_lock_shared(hseie_rollup_lock())
