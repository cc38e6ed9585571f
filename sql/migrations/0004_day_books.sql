-- The books by day, so that a difference has a place: of each journal, kind and UTC day of the readings' timestamps, how
-- many rows were stored, counted in the transaction that stores. Rows without a journal hold what history had before.
-- No flush may end between the countings below. They read all of history once, which may take its time.
LOCK TABLE shard_checkpoint, shard_book IN ACCESS EXCLUSIVE MODE;

CREATE TABLE day_book (
    journal_id uuid REFERENCES shard_checkpoint,
    kind text NOT NULL,
    day date NOT NULL,
    stored bigint NOT NULL,
    UNIQUE (journal_id, kind, day)
) WITH (fillfactor = 50);

INSERT INTO day_book (kind, day, stored)
SELECT 'meter', ("timestamp" AT TIME ZONE 'UTC')::date, count(*) FROM meter_history GROUP BY 2;

INSERT INTO day_book (kind, day, stored)
SELECT 'vehicle', ("timestamp" AT TIME ZONE 'UTC')::date, count(*) FROM vehicle_history GROUP BY 2;

-- How much of `stored` was stored before its days were counted.
ALTER TABLE shard_book ADD COLUMN stored_undated bigint NOT NULL DEFAULT 0;
UPDATE shard_book SET stored_undated = stored;

-- The frame after which this database began to take the journal; null: before that was noted, and from the first on.
-- Where it is not the journal's first, the journal's counts and these books do not begin at the same frame.
ALTER TABLE shard_checkpoint ADD COLUMN begun_after bigint;
