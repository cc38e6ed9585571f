-- Make the hours of single devices, of the pieces $1 to $4, whole hours, that do not overlap. See parts/effective.sql.
-- What is there already is compared first: a row that says the same is not written again.
WITH
\ir ../parts/effective.sql
,
made AS (
    SELECT device_id AS {id}, date_bin('1 hour', at, '2000-01-01T00:00:00Z') AS bucket, {rolled_readings}
    FROM effective
    GROUP BY number, device_id, 2
),
gone AS (
    DELETE FROM {kind}_hour AS old
    USING piece
    WHERE old.{id} = piece.device_id AND old.bucket >= piece.starts AND old.bucket < piece.ends
        AND NOT EXISTS (SELECT FROM made WHERE made.{id} = old.{id} AND made.bucket = old.bucket)
)
INSERT INTO {kind}_hour AS old ({id}, bucket, {rolled})
SELECT {id}, bucket, {rolled} FROM made
ON CONFLICT ({id}, bucket) DO UPDATE SET {rolled_assignments}
WHERE ({rolled_old}) IS DISTINCT FROM ({rolled_excluded})
