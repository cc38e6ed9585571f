-- Close all hours before $1. Under rollup_closing_lock. Never takes back what was closed before the clock was set.
UPDATE rollup_state SET closed_until = $1 WHERE closed_until < $1
