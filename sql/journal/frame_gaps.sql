-- First and last sequence of each gap after frame ?.
SELECT before + 1, seq - 1 FROM (SELECT seq, lag(seq, 1, ?) OVER (ORDER BY seq) AS before FROM frame)
WHERE seq > before + 1
