-- Keep what each device sent last in a day that is given up, from $1 to before $2, unless something later is kept.
INSERT INTO {kind}_given_up AS kept ({id}, "timestamp", id, {values})
SELECT known.{id}, newest.*
FROM {kind}_current AS known
CROSS JOIN LATERAL (
    SELECT history."timestamp", history.id, {values}
    FROM {kind}_history AS history
    WHERE history.{id} = known.{id} AND history."timestamp" >= $1 AND history."timestamp" < $2
    ORDER BY history."timestamp" DESC, history.id DESC
    LIMIT 1
) AS newest
ON CONFLICT ({id}) DO UPDATE SET "timestamp" = excluded."timestamp", id = excluded.id, {assignments}
WHERE (kept."timestamp", kept.id) < (excluded."timestamp", excluded.id)
