"""What the tables of rollups keep to by themselves, whoever writes to them."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from hseie.database import PostgresError, connect

PAIR = "INSERT INTO {} VALUES ('VEHICLE_1', '2026-02-09', 'METER_1', 1, 1, 1, 1, 1, 0, 0, 20)"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url, "tests", 10)
    yield connection
    await connection.close()


async def test_rows_of_days_are_updated_where_they_are(connection: Any) -> None:
    for kind in ("meter", "vehicle", "pair"):
        for width in ("hour", "day"):
            options = await connection.fetchval("SELECT reloptions FROM pg_class WHERE relname = $1", f"{kind}_{width}")
            assert "fillfactor=90" in options


async def test_marks_are_vacuumed_after_a_number_of_rows(connection: Any) -> None:
    options = await connection.fetchval("SELECT reloptions FROM pg_class WHERE relname = 'rollup_mark'")
    assert {"autovacuum_vacuum_threshold=10000", "autovacuum_vacuum_scale_factor=0"} <= set(options)


async def test_sessions_do_not_meet_at_the_number_of_each_mark(connection: Any, database_url: str) -> None:
    other = await connect(database_url, "tests", 10)
    mark = "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('meter', 'M', '2026-02-09') RETURNING id"
    first, second, third = [await who.fetchval(mark) for who in (connection, other, connection)]
    await other.close()
    assert (second - first, third - first) == (1000, 1)


HOURS = (
    "INSERT INTO {table} SELECT 'VEHICLE_' || n, day + hour * interval '1 hour', 'METER_1', 1, 1, 1, 1, 1, 0, 0, 20"
    " FROM generate_series({days}) AS day, generate_series(0, 23) AS hour, generate_series(1, 100) AS n"
)


@pytest.mark.parametrize("table", ["pair_hour", "pair_day"])
async def test_pages_that_are_used_again_are_not_read_for_what_was_there_before(connection: Any, table: str) -> None:
    def days(first: int, last: int) -> str:
        return HOURS.format(
            table=table, days=f"'2026-03-{first:02}Z'::timestamptz, '2026-03-{last:02}Z'::timestamptz, '1 day'"
        )

    await connection.execute(days(1, 10))
    await connection.execute(f"DELETE FROM {table} WHERE bucket < '2026-03-07Z'")
    await connection.execute(f"VACUUM {table}")
    size = await connection.fetchval("SELECT pg_relation_size($1::regclass)", table)
    await connection.execute(days(11, 16))
    await connection.execute(f"VACUUM ANALYZE {table}")
    assert await connection.fetchval("SELECT pg_relation_size($1::regclass)", table) < size * 1.2  # used again
    question = f"SELECT sum(ac_kwh) FROM {table} WHERE bucket >= '2026-03-07Z' AND bucket < '2026-03-07T12:00Z'"
    (text,) = await connection.fetchrow(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question}")
    plan = orjson.loads(text)[0]["Plan"]
    # Half a day of ten: a twentieth of the table, and a little of the index.
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert pages < size / 8192 / 10


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE rollup_state SET closed_until = '2026-02-09 12:30Z'",
        "UPDATE rollup_state SET closed_until = '2026-02-09 12:00Z', rolled_until = '2026-02-09 11:59Z'",
        "UPDATE rollup_state SET closed_until = '2026-02-09 12:00Z', rolled_until = '2026-02-09 13:00Z'",
        "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ('meters', 'M', '2026-02-09')",
        "INSERT INTO register_event VALUES ('pair', 'M', '2026-02-09', 'reset', 1, 1, 1)",
        "INSERT INTO archive_part (kind, day, part, state, readings, booked) VALUES ('', now(), 1, 'dropped', 1, 1)",
    ],
)
async def test_what_cannot_be_is_refused(connection: Any, wrong: str) -> None:
    with pytest.raises(PostgresError, match="violates check constraint"):
        await connection.execute(wrong)


async def test_only_what_changes_a_row_makes_kept_answers_old(connection: Any) -> None:
    numbers = []
    for table in ("pair_hour", "pair_day"):
        insert = PAIR.format(table)
        for statement in (
            insert,
            f"{insert} ON CONFLICT DO NOTHING",
            f"UPDATE {table} SET correlated = 0",
            f"UPDATE {table} SET correlated = 0 WHERE correlated = 1",
            f"DELETE FROM {table}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
        ):
            before = await connection.fetchval("SELECT number FROM rollup_change")
            await connection.execute(statement)
            numbers.append(await connection.fetchval("SELECT number FROM rollup_change") - before)
    assert numbers == [1, 0, 1, 0, 1, 0, 1] * 2
