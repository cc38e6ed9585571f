INSERT INTO bench.made (kind, starts, until) VALUES ('{kind}', $1, $2)
ON CONFLICT (kind) DO UPDATE SET until = excluded.until
