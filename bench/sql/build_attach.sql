ALTER TABLE {kind}_history ATTACH PARTITION {table} FOR VALUES FROM ('{day} 00:00Z') TO ('{next_day} 00:00Z')
