INSERT INTO frame (seq, body, readings, duplicates, crc) VALUES (?, ?, ?, ?, ?)
