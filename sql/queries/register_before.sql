-- Of each register the newest effective reading before a time, in history or kept of days that are given up: rows
-- (device_id, at, id, values). $1, $2: devices and times. $3, $4: what all of that spans, from how far before the first
-- time is looked to the last one; as parameters, so that partitions are pruned.
SELECT asked.device_id, before.*
FROM unnest($1::text[], $2::timestamptz[]) AS asked (device_id, starts)
CROSS JOIN LATERAL (
    SELECT *
    FROM (
        (
            SELECT history."timestamp" AS at, history.id, {values}
            FROM {kind}_history AS history
            WHERE history.{id} = asked.device_id
                AND history."timestamp" >= $3 AND history."timestamp" < $4
                AND history."timestamp" >= asked.starts - hseie_register_reach() AND history."timestamp" < asked.starts
            ORDER BY history."timestamp" DESC, history.id DESC
            LIMIT 1
        )
        UNION ALL
        SELECT kept."timestamp", kept.id, {values}
        FROM {kind}_given_up AS kept
        WHERE kept.{id} = asked.device_id
            AND kept."timestamp" >= $3
            AND kept."timestamp" >= asked.starts - hseie_register_reach() AND kept."timestamp" < asked.starts
    ) AS either
    ORDER BY at DESC, id DESC
    LIMIT 1
) AS before
