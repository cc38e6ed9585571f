-- What each frame counts, in order; the bodies are not walked through.
SELECT seq, readings, duplicates FROM frame ORDER BY seq
