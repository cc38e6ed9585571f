-- Null where no migration was ever applied.
SELECT to_regclass('schema_migration')::text
