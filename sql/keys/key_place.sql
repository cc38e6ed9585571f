-- The lowest place that no key has.
SELECT min(place) FROM (SELECT 0 AS place UNION ALL SELECT place + 1 FROM api_key)
WHERE place NOT IN (SELECT place FROM api_key)
