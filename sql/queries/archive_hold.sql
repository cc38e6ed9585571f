-- Keep writers out of the partition of kind $1 and UTC day $2 until the end of the transaction.
SELECT hseie_hold_partition($1, $2)
