DELETE FROM key_device WHERE key_id = ? AND device = ?
