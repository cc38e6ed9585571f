-- What each frame counts, and whether it stands after frame ?; the bodies are not walked through.
SELECT seq > ?, readings, duplicates FROM frame
