-- Readings of the frames between two, per kind number.
SELECT count.key, sum(count.value) FROM frame, json_each(frame.readings) AS count
WHERE seq > ? AND seq <= ? GROUP BY count.key
