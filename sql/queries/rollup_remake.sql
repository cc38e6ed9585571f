-- With other settings ($1), of which follows another margin ($3), all is made anew from $2 on, the oldest reading there
-- is. Under rollup_closing_lock, so that nobody who knew the former margin stores anything meanwhile.
UPDATE rollup_state SET settings = $1, rolled_until = least(rolled_until, $2), margin = $3
