-- The newest readings of the devices $1.
SELECT {columns}, updated_at FROM {kind}_current WHERE {id} = ANY($1::text[])
