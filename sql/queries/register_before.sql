-- Of each register the newest effective reading before a time, in history: rows (device_id, at, id, values). $1, $2:
-- devices and times. $3, $4: what all of that spans, from the reach of a register before the first time to the last one;
-- as parameters, so that partitions are pruned.
SELECT asked.device_id, before.*
FROM unnest($1::text[], $2::timestamptz[]) AS asked (device_id, starts)
CROSS JOIN LATERAL (
    SELECT history."timestamp" AS at, history.id, {values}
    FROM {kind}_history AS history
    WHERE history.{id} = asked.device_id
        AND history."timestamp" >= $3 AND history."timestamp" < $4
        AND history."timestamp" >= asked.starts - hseie_register_reach() AND history."timestamp" < asked.starts
    ORDER BY history."timestamp" DESC, history.id DESC
    LIMIT 1
) AS before
