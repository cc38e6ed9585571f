-- Let constraints that wait for the commit speak now, while there is a savepoint to go back to.
SET CONSTRAINTS ALL IMMEDIATE
