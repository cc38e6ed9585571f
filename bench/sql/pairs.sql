-- $1 pairs, three in a hundred with a charger that loses more than it may (simulator/physics.py has the bounds). Clocks
-- keep their phase, as the simulator's do, but for one pair in four, whose readings are up to an eighth of a second late.
INSERT INTO bench.pair
SELECT
    row_number() OVER (ORDER BY phase_ms, number), number,
    'METER_' || lpad(number::text, greatest(3, length(number::text)), '0'),
    'VEHICLE_' || lpad(number::text, greatest(3, length(number::text)), '0'),
    phase_ms,
    ((dice >> 8) & 8191)::integer,
    CASE WHEN number % 4 = 0 THEN 127 ELSE 0 END,
    (ARRAY[617, 1233, 1833, 3667])[1 + ((dice >> 21) & 3)],
    CASE WHEN number % 33 = 0 THEN 600000 ELSE 860000 END + (((dice >> 23) & 65535) * 80000 / 65536)::integer,
    cycle_min, cycle_min * 7 / 10,
    ((dice >> 39) & 1023)::integer,
    22600 + ((dice >> 49) & 1023)::integer,
    -500 + ((dice >> 40) & 1023)::integer
FROM (
    SELECT number, hashint8extended(number, 1) AS dice,
        (hashint8extended(number, 2) & 65535) * 51000 / 65536 AS phase_ms,
        (240 + (hashint8extended(number, 3) & 511))::integer AS cycle_min
    FROM generate_series(1, $1::integer) AS number
) AS drawn
