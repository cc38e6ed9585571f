SELECT seq, body, readings, duplicates, crc FROM frame WHERE seq > ? AND seq <= ? ORDER BY seq
