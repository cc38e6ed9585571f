-- Let no day leave history until the end of the transaction. Before its first query: what that sees is then true of all
-- partitions.
LOCK TABLE ONLY {kind}_history IN ACCESS SHARE MODE
