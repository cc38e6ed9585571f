-- The archive in figures. What is 'written' or 'restored' is in history too.
SELECT
    count(*) FILTER (WHERE state <> 'dropped') AS parts,
    coalesce(sum(bytes), 0)::bigint AS bytes,
    coalesce(sum(readings) FILTER (WHERE state <> 'dropped'), 0)::bigint AS readings,
    coalesce(sum(readings) FILTER (WHERE state = 'dropped'), 0)::bigint AS dropped
FROM archive_part
