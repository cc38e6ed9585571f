-- History no longer has the rows of the parts of kind $1 and UTC day $2.
UPDATE archive_part SET state = 'archived', changed_at = now() WHERE kind = $1 AND day = $2 AND state = 'written'
