-- The journal of one shard (SQLite). An operator may read it with any sqlite3.
CREATE TABLE IF NOT EXISTS frame (
    seq INTEGER PRIMARY KEY,  -- rises by one
    body BLOB NOT NULL,       -- as received: msgpack around lines of COPY text
    readings TEXT NOT NULL,   -- JSON: per kind number, how many lines
    duplicates BLOB,          -- msgpack: per kind number, which lines were exact re-sends; NULL: none
    crc INTEGER NOT NULL      -- CRC-32 of body, readings and duplicates
);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
