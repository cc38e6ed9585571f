-- Rollups are there for all hours before $1.
UPDATE rollup_state SET rolled_until = $1 WHERE rolled_until < $1
