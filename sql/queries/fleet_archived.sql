-- The oldest reading that a file of the archive has.
SELECT min(oldest) AS oldest FROM archive_part WHERE state <> 'dropped'
