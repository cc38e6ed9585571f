-- Begin a transaction that changes rollups: one at a time, also where a former process has died and its session has not
-- noticed yet. What is read in later statements is newer than what anybody else has made. Plans are made for the values
-- at hand: without registers and archived readings half of the statements falls away.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), pg_advisory_xact_lock(hashtext('hseie rollups'), 0)
