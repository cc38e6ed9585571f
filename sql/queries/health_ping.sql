-- Answered by any PostgreSQL that can look at its tables.
SELECT EXISTS (SELECT FROM schema_migration)
