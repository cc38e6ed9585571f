-- Those of a list (JSON) that a key has not reported for, in their order.
SELECT value FROM json_each(?) AS asked
WHERE NOT EXISTS (SELECT 1 FROM key_device WHERE key_device.key_id = ? AND key_device.device = asked.value)
ORDER BY asked.key
