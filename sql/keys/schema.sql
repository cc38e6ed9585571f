-- The API keys of a node, and the devices that each has reported for (SQLite). An operator may read it with any sqlite3.
CREATE TABLE IF NOT EXISTS api_key (
    key_id TEXT PRIMARY KEY,       -- public: it stands at the start of the key
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    digest BLOB NOT NULL CHECK (length(digest) = 32),  -- SHA-256 of the secret, which only its holder has
    scopes TEXT NOT NULL,          -- JSON: ingest, read, admin
    devices TEXT NOT NULL,         -- JSON: ids of devices it may speak for ...
    prefixes TEXT NOT NULL,        -- JSON: ... and beginnings of such ids
    all_devices INTEGER NOT NULL CHECK (all_devices = (devices = '[]' AND prefixes = '[]')),  -- 1: all there are
    readings_per_s REAL NOT NULL,  -- 0: no limit, here and below
    burst_readings INTEGER NOT NULL,
    devices_max INTEGER NOT NULL,
    place INTEGER NOT NULL UNIQUE CHECK (place BETWEEN 0 AND 4095),  -- in the counters that the processes share
    created_at REAL NOT NULL,      -- Unix seconds, here and below
    expires_at REAL,
    revoked_at REAL,
    devices_seen INTEGER NOT NULL DEFAULT 0  -- rows of key_device; the triggers below count
) WITHOUT ROWID;
-- Kept for keys with a devices_max only.
CREATE TABLE IF NOT EXISTS key_device (
    key_id TEXT NOT NULL,
    device TEXT NOT NULL,
    first_seen_at REAL NOT NULL,
    PRIMARY KEY (key_id, device)
) WITHOUT ROWID;
-- A new token whenever keys were changed, or devices forgotten: what a process holds in memory is then out of date.
CREATE TABLE IF NOT EXISTS change (what TEXT PRIMARY KEY, token TEXT NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO change (what, token) VALUES ('keys', hex(randomblob(8))), ('devices', hex(randomblob(8)));

CREATE TRIGGER IF NOT EXISTS api_key_created AFTER INSERT ON api_key BEGIN
    UPDATE change SET token = hex(randomblob(8)) WHERE what = 'keys';
END;
-- Of all columns but the counter.
CREATE TRIGGER IF NOT EXISTS api_key_changed AFTER UPDATE OF
    key_id, name, digest, scopes, devices, prefixes, all_devices, readings_per_s, burst_readings, devices_max, place,
    created_at, expires_at, revoked_at ON api_key BEGIN
    UPDATE change SET token = hex(randomblob(8)) WHERE what = 'keys';
END;
CREATE TRIGGER IF NOT EXISTS api_key_removed AFTER DELETE ON api_key BEGIN
    UPDATE change SET token = hex(randomblob(8)) WHERE what = 'keys';
    DELETE FROM key_device WHERE key_id = OLD.key_id;
END;
CREATE TRIGGER IF NOT EXISTS key_device_seen AFTER INSERT ON key_device BEGIN
    UPDATE api_key SET devices_seen = devices_seen + 1 WHERE key_id = NEW.key_id;
END;
CREATE TRIGGER IF NOT EXISTS key_device_forgotten AFTER DELETE ON key_device BEGIN
    UPDATE api_key SET devices_seen = devices_seen - 1 WHERE key_id = OLD.key_id;
    UPDATE change SET token = hex(randomblob(8)) WHERE what = 'devices';
END;
PRAGMA user_version = 2;
