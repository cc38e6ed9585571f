-- This session's vacuums rest for two milliseconds after some 100 pages that they had to write: ingest needs the disk too.
SELECT set_config('vacuum_cost_delay', '2', false), set_config('vacuum_cost_limit', '2000', false)
