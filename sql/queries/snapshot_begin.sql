-- Begin a transaction whose statements see one moment.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
