-- The books by day, so that a difference has a place: of each journal, kind and UTC day of the readings' timestamps, how
-- many rows were stored, counted in the transaction that stores. Rows without a journal hold what history had before.
-- No flush may end between the countings below. They read all of history once, which may take its time: as tables of
-- their own, because several processes may share that only outside of INSERT. A partition is a UTC day, that of each row.
LOCK TABLE shard_checkpoint, shard_book IN ACCESS EXCLUSIVE MODE;

CREATE TABLE day_book (
    journal_id uuid REFERENCES shard_checkpoint,
    kind text NOT NULL,
    day date NOT NULL,
    stored bigint NOT NULL,
    UNIQUE (journal_id, kind, day)
) WITH (fillfactor = 50);

CREATE TEMP TABLE meter_days ON COMMIT DROP AS
SELECT min("timestamp") AS moment, count(*) AS stored FROM meter_history GROUP BY tableoid;

CREATE TEMP TABLE vehicle_days ON COMMIT DROP AS
SELECT min("timestamp") AS moment, count(*) AS stored FROM vehicle_history GROUP BY tableoid;

INSERT INTO day_book (kind, day, stored)
SELECT 'meter', (moment AT TIME ZONE 'UTC')::date, stored FROM meter_days
UNION ALL
SELECT 'vehicle', (moment AT TIME ZONE 'UTC')::date, stored FROM vehicle_days;

-- How much of `stored` was stored before its days were counted.
ALTER TABLE shard_book ADD COLUMN stored_undated bigint NOT NULL DEFAULT 0;
UPDATE shard_book SET stored_undated = stored;

-- The frame after which this database began to take the journal; null: before that was noted, and from the first on.
-- Where it is not the journal's first, the journal's counts and these books do not begin at the same frame.
ALTER TABLE shard_checkpoint ADD COLUMN begun_after bigint;
