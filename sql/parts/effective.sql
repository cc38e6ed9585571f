-- The effective readings of single devices of one kind. CTEs; the last, `effective`, has a row a reading: number (of the
-- piece), device_id, at, the kind's values, and of registers, whose energy is the difference to the reading before:
-- event (or null), before and after (what the register showed).
--
-- $1 to $4: pieces: device, starts, ends, whether it sends registers.
-- $5, $6: from the first `starts` to the last `ends`. As parameters, so that partitions are pruned.
-- $7: kW above which the step of a register is not believed.
-- $8 to $10 and one array of each value: readings besides those of history: device, at, id, values. From the archive;
--     and of each register the newest ones before its pieces.
--
-- Effective: of rows with one device and timestamp the newest id. As in meeting.sql, rows are merged and sorted only
-- where something is given or a register is among the devices.
piece AS (
    SELECT *
    FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::boolean[]) WITH ORDINALITY
        AS given (device_id, starts, ends, is_register, number)
),
given AS (
    SELECT *
    FROM unnest($8::text[], $9::timestamptz[], $10::bigint[], {given}) AS given (device_id, at, id, {values})
),
raw AS (
    SELECT piece.number, history."timestamp" AS at, history.id, {values}
    FROM piece
    JOIN {kind}_history AS history
        ON history.{id} = piece.device_id
        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        AND history."timestamp" >= $5 AND history."timestamp" < $6
    WHERE (cardinality($8::text[]) > 0 OR true = ANY($4::boolean[]))
        AND (cardinality($8::text[]) > 0 OR piece.is_register)
    UNION ALL
    SELECT piece.number, given.at, given.id, {values}
    FROM given
    JOIN piece USING (device_id)
    WHERE cardinality($8::text[]) > 0
        AND given.at < piece.ends
        AND given.at >= CASE WHEN piece.is_register THEN piece.starts - hseie_register_reach() ELSE piece.starts END
),
newest AS (
    SELECT DISTINCT ON (number, at) *
    FROM raw
    ORDER BY number, at, id DESC
),
compared AS (
    SELECT *,
        CASE WHEN at - lag(at) OVER device <= hseie_register_reach() THEN lag({energy}) OVER device END AS before,
        at - lag(at) OVER device AS elapsed
    FROM newest
    WINDOW device AS (PARTITION BY number ORDER BY at)
),
-- Fenced by OFFSET 0, or the event would be worked out wherever it is mentioned.
stepped AS (
    SELECT compared.*, piece.device_id, piece.is_register,
        CASE WHEN piece.is_register THEN hseie_register_event(before, {energy}, elapsed, $7) END AS event
    FROM compared
    JOIN piece USING (number)
    WHERE compared.at >= piece.starts
    OFFSET 0
),
effective AS (
    SELECT piece.number, piece.device_id, newest.*, NULL::text AS event, NULL::numeric AS before, NULL::numeric AS after
    FROM piece
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (history."timestamp") history."timestamp" AS at, {values}
        FROM {kind}_history AS history
        WHERE history.{id} = piece.device_id
            AND history."timestamp" >= $5 AND history."timestamp" < $6
            AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
        ORDER BY history."timestamp" DESC, history.id DESC
    ) AS newest
    WHERE NOT piece.is_register AND cardinality($8::text[]) = 0
    UNION ALL
    SELECT number, device_id, at, {values_as_energy},
        event, CASE WHEN is_register THEN before END, CASE WHEN is_register THEN {energy} END
    FROM stepped
)
