-- The newest frame that was ever in this file, there or pruned; 0 where there was none.
SELECT max(
    (SELECT coalesce(max(seq), 0) FROM frame),
    (SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'pruned_seq')
)
