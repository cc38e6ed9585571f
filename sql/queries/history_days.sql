-- The daily rollups of device $1 in [$2, $3).
SELECT bucket, {rolled} FROM {kind}_day WHERE {id} = $1 AND bucket >= $2 AND bucket < $3 ORDER BY bucket
