-- Unless it is revoked: that is for good.
UPDATE api_key SET readings_per_s = ?, burst_readings = ?, devices_max = ?, expires_at = ?
WHERE key_id = ? AND revoked_at IS NULL
