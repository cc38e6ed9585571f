INSERT INTO api_key (key_id, name, digest, scopes, devices, prefixes, all_devices, readings_per_s, burst_readings,
    devices_max, place, created_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
