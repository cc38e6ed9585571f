-- Does nothing where the key is full, gone, or has the device.
INSERT OR IGNORE INTO key_device (key_id, device, first_seen_at)
SELECT key_id, ?, ? FROM api_key WHERE key_id = ? AND devices_seen < devices_max
