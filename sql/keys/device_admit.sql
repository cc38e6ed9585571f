INSERT INTO key_device (key_id, device, first_seen_at)
SELECT ?, value, ? FROM json_each(?)
