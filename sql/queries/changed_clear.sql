-- Empty the place where changed devices arrive, for the next of several merges in one transaction.
DELETE FROM {kind}_changed
