-- Mark what the pairing of vehicles $1 between $2 and $3 has a part in, one element a span: the closed hours whose
-- readings lie in it or so close ($4, an interval) that a neighbour in it decides about them. At most $5 marks.
--
-- Hours before the oldest day that history or the archive knows have no rollups of pairs. Of days that were dropped the
-- rows are gone: their rollups stay as they are.
WITH oldest AS (
    SELECT min(day) AS day
    FROM (
        SELECT history.day
        FROM unnest(ARRAY['meter', 'vehicle']) AS given (kind)
        CROSS JOIN LATERAL hseie_days_of_history(given.kind) AS history
        UNION ALL
        SELECT min(day) FROM archive_part WHERE state <> 'dropped'
    ) AS days
)
INSERT INTO rollup_mark (kind, device_id, bucket)
SELECT 'pair', span.vehicle_id, hour
FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS span (vehicle_id, starts, ends)
CROSS JOIN rollup_state
CROSS JOIN oldest
CROSS JOIN LATERAL generate_series(
    date_bin('1 hour', greatest(span.starts - $4::interval, oldest.day::timestamptz), '2000-01-01T00:00:00Z'),
    least(coalesce(span.ends, 'infinity') + $4::interval, rollup_state.closed_until - interval '1 microsecond'),
    interval '1 hour'
) AS hour
WHERE isfinite(rollup_state.closed_until)
LIMIT $5
