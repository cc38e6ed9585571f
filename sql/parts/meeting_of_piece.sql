-- The readings of one piece, `piece`, whose energy is as it is: from the index in order, sorted in their few rows. See
-- meeting.sql, which also says what the parameters are.
-- The number stands outside of the union, where the planner sees that it is one and the same.
        WITH reading AS (
            SELECT piece.number, sides.*, NULL::text AS event
            FROM (
                SELECT true AS ac, effective.at, effective.kwh, NULL::numeric AS battery_temp
                FROM (
                    SELECT DISTINCT ON (history."timestamp") history."timestamp" AS at, history.kwh_consumed_ac AS kwh
                    FROM meter_history AS history
                    WHERE history.meter_id = piece.meter_id
                        AND history."timestamp" >= $9 AND history."timestamp" < $10
                        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
                    ORDER BY history."timestamp" DESC, history.id DESC
                ) AS effective
                UNION ALL
                SELECT false, effective.at, effective.kwh, effective.battery_temp
                FROM (
                    SELECT DISTINCT ON (history."timestamp")
                        history."timestamp" AS at, history.kwh_delivered_dc AS kwh, history.battery_temp
                    FROM vehicle_history AS history
                    WHERE history.vehicle_id = piece.vehicle_id
                        AND history."timestamp" >= $9 AND history."timestamp" < $10
                        AND history."timestamp" >= piece.starts AND history."timestamp" < piece.ends
                    ORDER BY history."timestamp" DESC, history.id DESC
                ) AS effective
            ) AS sides
        )
\ir mutual_nearest.sql
