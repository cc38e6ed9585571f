-- PostgreSQL's clock.
SELECT clock_timestamp()
