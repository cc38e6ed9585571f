-- $3 readings of kind $1 and UTC day $2 were deleted for good; $4 is what the day books say of the day.
INSERT INTO archive_part (kind, day, part, state, readings, booked)
SELECT $1, $2, coalesce(max(part), 0) + 1, 'dropped', $3, $4 FROM archive_part WHERE kind = $1 AND day = $2
