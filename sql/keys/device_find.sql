-- Whether the key has no room for another device, and whether it has this one; no row: there is no such key.
SELECT devices_seen >= devices_max,
    EXISTS (SELECT 1 FROM key_device WHERE key_device.key_id = api_key.key_id AND device = ?)
FROM api_key WHERE key_id = ?
