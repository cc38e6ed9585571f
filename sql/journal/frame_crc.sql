SELECT crc FROM frame WHERE seq = ?
