-- The same, and plans are kept: statements about one device take longer to plan than to run. Partitions are pruned when
-- they start; each is locked, so that there must not be hundreds of them.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL plan_cache_mode = force_generic_plan
