-- A dead letter keeps its place among its device's readings: the id that it would have had in history is drawn when it is
-- refused, and a retry stores it under that id. So a correction that came later still wins. (Rows that were parked before
-- this migration get theirs now.)
ALTER TABLE dead_letter ADD COLUMN reading_id bigint NOT NULL DEFAULT nextval('reading_id');

-- Of the dead-lettered ones, how many an operator gave up: dead_letter holds dead_lettered - dropped rows.
ALTER TABLE shard_book ADD COLUMN dropped bigint NOT NULL DEFAULT 0;
