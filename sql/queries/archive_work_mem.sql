-- Memory for sorting a day in this transaction; the rest of it is sorted on disk.
SELECT set_config('work_mem', '65536', true)
