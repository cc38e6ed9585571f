-- The newest reading of device $1.
SELECT {columns}, updated_at FROM {kind}_current WHERE {id} = $1
