-- With other settings ($1) all is made anew from $2 on, the oldest reading there is.
UPDATE rollup_state SET settings = $1, rolled_until = least(rolled_until, $2)
