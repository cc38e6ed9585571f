-- How far rollups are: before which hour all are closed, and rolled up; with which settings; from when hours and days
-- are kept.
SELECT closed_until, rolled_until, settings, hours_from, days_from FROM rollup_state
