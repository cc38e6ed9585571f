-- Wait for those who store readings, and let them wait until the end of this transaction.
SELECT pg_advisory_xact_lock(hseie_rollup_lock())
