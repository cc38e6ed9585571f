SELECT device, first_seen_at FROM key_device WHERE key_id = ? ORDER BY device
