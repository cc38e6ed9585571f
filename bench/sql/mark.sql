-- As a flush does: who stores a reading of an hour that was rolled up says so.
INSERT INTO rollup_mark (kind, device_id, bucket)
SELECT '{kind}', {id}, $1 FROM bench.pair WHERE $1 < (SELECT closed_until FROM rollup_state)
