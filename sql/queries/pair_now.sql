-- The moment of a change: PostgreSQL's, which is one for all who change pairings, and later than all changes before.
SELECT clock_timestamp()
