-- The parts of kind $1 and UTC day $2 that have files, kept from changing until the end of the transaction.
SELECT kind, day, part, state, file, readings, bytes, sums, sha256, booked
FROM archive_part
WHERE kind = $1 AND day = $2 AND state <> 'dropped'
ORDER BY part
FOR UPDATE
