    -- What each pair measures in each minute. One hash a pair and minute; every value takes bits of its own from it.
    -- SoC rises from 15 to 95 % while the vehicle charges and falls again while it drives; above 80 % the power falls to a
    -- tenth, as with lithium cells. A charge warms the battery for an hour, and it cools in one. Now and then a pair is
    -- silent for twenty minutes, and one reading in a thousand is lost.
    SELECT dice.*, minute,
        60000 * minute + phase_ms + ((bits >> 16) & jitter_ms) AS meter_ms,
        60000 * minute + phase_ms + lag_ms + ((bits >> 24) & jitter_ms) AS vehicle_ms,
        CASE WHEN charges THEN
            rated_units * least(10000, 10000 - 9000 * (soc - 8000) / 2000) / 10000
                * (10000 + (bits & 255) - 128) / 10000
        ELSE 0 END AS ac_units,
        rated_units * CASE WHEN charges THEN least(cycle, 60) ELSE greatest(0, charging_min + 60 - cycle) END / 480 AS warmth
    FROM generate_series(
        extract(epoch FROM $1::timestamptz)::bigint / 60, extract(epoch FROM $2::timestamptz)::bigint / 60 - 1
    ) AS minute
    CROSS JOIN LATERAL (SELECT round(1500 - 800 * cos((minute % 1440) * pi() / 720))::bigint AS ambient) AS weather
    CROSS JOIN LATERAL (
        SELECT pair.*, ambient, cycle < charging_min AS charges,
            CASE WHEN cycle < charging_min THEN 1500 + 8000 * cycle / charging_min
            ELSE 9500 - 8000 * (cycle - charging_min) / (cycle_min - charging_min) END AS soc
        FROM (
            SELECT *, hashint8extended((minute << 24) | number, 4) AS bits, (minute + shift_min) % cycle_min AS cycle
            FROM bench.pair
            WHERE (hashint8(((minute / 60) << 24) | number) & 127) <> 0 OR minute % 60 >= 20
            OFFSET 0
        ) AS pair
    ) AS dice
