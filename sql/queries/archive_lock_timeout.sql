-- In this transaction wait at most $1 milliseconds for a lock: others wait behind us.
SELECT set_config('lock_timeout', $1, true)
