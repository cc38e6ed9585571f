SELECT seq, length(body) FROM frame WHERE seq <= ? ORDER BY seq LIMIT ?
