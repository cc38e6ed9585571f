-- Drop the partition of kind $1 and UTC day $2, which is held.
SELECT hseie_drop_partition($1, $2)
