-- Hours before $1 and days before $2 are not kept any more, and not to be read. Neither is ever taken back: what is gone
-- is gone, also where it is to be kept for longer from now on.
UPDATE rollup_state SET hours_from = greatest(hours_from, $1), days_from = greatest(days_from, $2)
