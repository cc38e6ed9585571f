DELETE FROM frame WHERE seq <= ?
