-- With which meter by id rollups of pairs were made is not known any more.
DELETE FROM pair_by_id
