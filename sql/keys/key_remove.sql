-- Unless it still lets its holder in.
DELETE FROM api_key WHERE key_id = ? AND (revoked_at IS NOT NULL OR expires_at <= ?)
