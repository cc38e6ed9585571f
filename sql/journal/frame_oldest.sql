SELECT seq, length(body), readings, duplicates FROM frame WHERE seq <= ? ORDER BY seq LIMIT ?
