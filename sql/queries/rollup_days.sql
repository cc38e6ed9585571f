-- Make the days $2 of the devices $1 (a day beside each device) from their hours.
WITH piece AS (
    SELECT device_id, day FROM unnest($1::text[], $2::timestamptz[]) AS given (device_id, day)
),
made AS (
    SELECT hour.{id}, piece.day AS bucket, {rolled_hours}
    FROM piece
    JOIN {kind}_hour AS hour
        ON hour.{id} = piece.device_id AND hour.bucket >= piece.day AND hour.bucket < piece.day + interval '1 day'
    GROUP BY hour.{id}, piece.day
),
gone AS (
    DELETE FROM {kind}_day AS old
    USING piece
    WHERE old.{id} = piece.device_id AND old.bucket = piece.day
        AND NOT EXISTS (SELECT FROM made WHERE made.{id} = old.{id} AND made.bucket = old.bucket)
)
INSERT INTO {kind}_day AS old ({id}, bucket, {rolled})
SELECT {id}, bucket, {rolled} FROM made
ON CONFLICT ({id}, bucket) DO UPDATE SET {rolled_assignments}
WHERE ({rolled_old}) IS DISTINCT FROM ({rolled_excluded})
