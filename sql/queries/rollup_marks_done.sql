-- Take away the marks $1. One that has come meanwhile for the same bucket has another id, and stays.
DELETE FROM rollup_mark WHERE id = ANY($1::bigint[])
