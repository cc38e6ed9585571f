-- For how many devices more a key may report; no row: there is no such key.
SELECT devices_max - devices_seen FROM api_key WHERE key_id = ?
