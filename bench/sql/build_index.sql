CREATE INDEX ON {table} ({id}, "timestamp", id) INCLUDE ({values})
