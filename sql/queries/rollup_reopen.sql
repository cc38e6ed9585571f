-- Hours from $1 on are not closed, nor rolled up: a clock was ahead when they were. Under rollup_closing_lock; what has
-- been stored for them is there when they are rolled up anew.
UPDATE rollup_state SET closed_until = $1, rolled_until = least(rolled_until, $1) WHERE closed_until > $1
