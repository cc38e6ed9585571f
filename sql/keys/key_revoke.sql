UPDATE api_key SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL
