-- End it. What failed in it is rolled back by the same word.
COMMIT
