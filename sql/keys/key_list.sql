-- In the order of the fields of `access.Key`, and what a list shows besides.
SELECT key_id, name, digest, scopes, devices, prefixes, all_devices, readings_per_s, burst_readings, devices_max, place,
    created_at, expires_at, revoked_at, devices_seen
FROM api_key ORDER BY created_at, place
