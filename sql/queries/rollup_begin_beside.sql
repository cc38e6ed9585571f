-- The same as rollup_begin, beside others of this process who roll up other rows of the same hours.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), pg_advisory_xact_lock_shared(hashtext('hseie rollups'), 0)
