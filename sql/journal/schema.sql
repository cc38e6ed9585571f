-- The journal of one shard (SQLite). An operator may read it with any sqlite3.
-- The body stands last: what is before it is read without walking through it.
CREATE TABLE IF NOT EXISTS frame (
    seq INTEGER PRIMARY KEY,  -- rises by one
    crc INTEGER NOT NULL,     -- CRC-32 of body, readings and duplicates
    readings TEXT NOT NULL,   -- JSON: per kind number, how many lines
    duplicates BLOB,          -- msgpack: per kind number, which lines were exact re-sends; NULL: none
    body BLOB NOT NULL        -- as received: msgpack around lines of COPY text
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
