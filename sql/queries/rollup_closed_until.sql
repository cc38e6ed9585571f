-- Which hours are closed.
\ir ../parts/closed_until.sql
