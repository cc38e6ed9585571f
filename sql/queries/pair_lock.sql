-- One change of pairings at a time, whoever makes it; reading goes on. To be asked for before the rows are read.
LOCK TABLE device_pair IN SHARE ROW EXCLUSIVE MODE
