-- Note what happened to registers in the pieces $1 to $4. See parts/effective.sql.
WITH
\ir ../parts/effective.sql
,
made AS (
    SELECT device_id, at, event, before, after, {energy} AS kwh FROM effective WHERE event IS NOT NULL
),
gone AS (
    DELETE FROM register_event AS old
    USING piece
    WHERE old.kind = '{kind}' AND old.device_id = piece.device_id
        AND old."timestamp" >= piece.starts AND old."timestamp" < piece.ends
        AND NOT EXISTS (SELECT FROM made WHERE made.device_id = old.device_id AND made.at = old."timestamp")
)
INSERT INTO register_event (kind, device_id, "timestamp", event, before, after, kwh)
SELECT '{kind}', device_id, at, event, before, after, kwh FROM made
ON CONFLICT (kind, device_id, "timestamp")
DO UPDATE SET event = excluded.event, before = excluded.before, after = excluded.after, kwh = excluded.kwh
