-- Make the partition of kind $1 and UTC day $2; true if it was missing.
SELECT hseie_make_partition($1, $2)
