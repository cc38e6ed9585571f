-- The CRC of frame `last_seq` as the journal keeps it, by which a copy of a journal that has gone another way is told from
-- the one that was flushed: its frame of that number is another. Null: none was flushed since this was noted.
ALTER TABLE shard_checkpoint ADD COLUMN last_crc bigint;
