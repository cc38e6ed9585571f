"""Pairings in PostgreSQL: changes one after the other, the marks that they leave, and what stays as it was."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hseie import pairs
from hseie.config import Config
from hseie.database import connect
from hseie.errors import HseieError
from hseie.pair_plan import Pair, PairConflictError
from hseie.pair_request import InvalidPairError, Wanted
from hseie.pair_routes import STATES
from hseie.pairs import end_pair, find_pairs, remove_pair, set_pair

CONFIG = Config()
HOUR = timedelta(hours=1)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url, "tests", 10)
    yield connection
    await connection.close()


async def now_of(connection: Any) -> datetime:
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now


async def rows(connection: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch("SELECT * FROM device_pair ORDER BY vehicle_id, valid_from")]


async def marks(connection: Any) -> list[tuple[str, datetime]]:
    found = await connection.fetch("DELETE FROM rollup_mark RETURNING kind, device_id, bucket")
    assert {row["kind"] for row in found} <= {"pair"}
    return sorted((row["device_id"], row["bucket"]) for row in found)


async def close_hours(connection: Any, until: datetime, oldest: date) -> None:
    await connection.execute("UPDATE rollup_state SET closed_until = $1, rolled_until = $1", until)
    await connection.execute("SELECT hseie_make_partition('vehicle', $1)", oldest)


def hours(first: datetime, last: datetime) -> list[datetime]:
    return [first + number * HOUR for number in range((last - first) // HOUR + 1)]


async def test_set_end_and_list(connection: Any) -> None:
    first = await set_pair(connection, CONFIG, Wanted("V", "A"))
    second = await set_pair(connection, CONFIG, Wanted("V", "B"))
    assert second.ended == [Pair("V", "A", first.pair.valid_from, second.pair.valid_from)]
    later = await now_of(connection) + timedelta(days=3)
    await set_pair(connection, CONFIG, Wanted("W", None, later))
    assert await rows(connection) == [
        ("V", "A", first.pair.valid_from, second.pair.valid_from),
        ("V", "B", second.pair.valid_from, None),
        ("W", None, later, None),
    ]
    found = {state: await find_pairs(connection, state, None, None, 10) for state in STATES}
    assert found["current"] == [second.pair]
    assert found["planned"] == [Pair("W", None, later)]
    assert found["ended"] == second.ended
    assert len(found["all"]) == 3
    assert await find_pairs(connection, "all", None, "A", 10) == second.ended
    assert await find_pairs(connection, "all", "W", None, 10) == found["planned"]
    assert await find_pairs(connection, "all", None, None, 1, second.ended[0].key) == [second.pair]
    ended = await end_pair(connection, CONFIG, "V")
    assert (await rows(connection))[1] == ("V", "B", second.pair.valid_from, ended.pair.valid_to)
    await remove_pair(connection, CONFIG, "W", later)
    assert await find_pairs(connection, "current", None, None, 10) == []
    assert await find_pairs(connection, "planned", None, None, 10) == []


async def test_a_mistake_is_replaced_under_the_same_start(connection: Any) -> None:
    start = await now_of(connection) - timedelta(days=3)
    await set_pair(connection, CONFIG, Wanted("V", "A", start))
    await set_pair(connection, CONFIG, Wanted("V", "B", start))
    assert await rows(connection) == [("V", "B", start, None)]


async def test_a_refused_change_leaves_the_rows_as_they_were(connection: Any) -> None:
    now = await now_of(connection)
    await set_pair(connection, CONFIG, Wanted("V", "A", now - 3 * HOUR, now - HOUR))
    before = await rows(connection)
    with pytest.raises(PairConflictError):
        await set_pair(connection, CONFIG, Wanted("V", "B", now - 2 * HOUR))
    assert await rows(connection) == before


async def test_two_changes_at_once_come_one_after_the_other(database_url: str, connection: Any) -> None:
    """Whoever comes second sees what the first has done: no two rows of a vehicle or of a meter overlap."""

    async def repeat(name: str, *wanted: Wanted) -> None:
        own = await connect(database_url, name, 10)
        for _ in range(15):
            for one in wanted:
                await set_pair(own, CONFIG, one)
        await own.close()

    async with asyncio.timeout(60):
        await asyncio.gather(
            repeat("first", Wanted("V", "A"), Wanted("W", "B")),
            repeat("second", Wanted("W", "A"), Wanted("V", "B")),
            repeat("third", Wanted("V", "A"), Wanted("X", "A")),
        )
    found = await rows(connection)
    assert len(found) > 20
    for one in found:
        for other in found:
            if one < other and (one[0] == other[0] or one[1] == other[1]):
                assert one[3] is not None or other[3] is not None
                assert not (
                    one[2] < (other[3] or datetime.max.replace(tzinfo=UTC)) and other[2] < (one[3] or other[2] + HOUR)
                )
    # Later by the clock of PostgreSQL than all before it: none of them is empty.
    assert all(end is None or end > start for _, _, start, end in found)


async def test_a_change_is_later_than_the_one_it_waited_for(database_url: str, connection: Any) -> None:
    blocking = await connect(database_url, "blocking", 10)
    transaction = blocking.transaction()
    await transaction.start()
    await blocking.execute("LOCK TABLE device_pair IN ROW EXCLUSIVE MODE")
    waiting = asyncio.ensure_future(set_pair(connection, CONFIG, Wanted("V", "B")))
    while not await blocking.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        await asyncio.sleep(0.01)
    await blocking.execute("INSERT INTO device_pair VALUES ('V', 'A', clock_timestamp(), NULL)")
    await transaction.commit()
    assert [row.meter_id for row in (await waiting).ended] == ["A"]
    await blocking.close()


# --- marks ------------------------------------------------------------------------------------------------------------


async def test_the_closed_hours_of_a_change_are_marked(connection: Any) -> None:
    now = await now_of(connection)
    closed = now.replace(minute=0, second=0, microsecond=0) - 5 * HOUR
    await close_hours(connection, closed, (closed - timedelta(days=9)).date())
    start = closed - 3 * HOUR + timedelta(minutes=30)
    await set_pair(connection, CONFIG, Wanted("V", "A", start))
    assert await marks(connection) == [("V", hour) for hour in hours(closed - 3 * HOUR, closed - HOUR)]
    # What the end changes: the hours from there to where it ended before.
    await end_pair(connection, CONFIG, "V", closed - 2 * HOUR + timedelta(minutes=30))
    assert await marks(connection) == [("V", hour) for hour in hours(closed - 2 * HOUR, closed - HOUR)]
    await set_pair(connection, CONFIG, Wanted("V", "B"))  # now: no hour of it is closed
    assert await marks(connection) == []
    await set_pair(connection, CONFIG, Wanted("V", "B"))
    assert await marks(connection) == []


async def test_hours_whose_readings_have_neighbours_across_the_change_are_marked(connection: Any) -> None:
    now = await now_of(connection)
    closed = now.replace(minute=0, second=0, microsecond=0)
    await close_hours(connection, closed, (closed - timedelta(days=9)).date())
    await set_pair(connection, CONFIG, Wanted("V", "A", closed - 5 * HOUR + timedelta(seconds=60), closed - 3 * HOUR))
    assert await marks(connection) == [("V", hour) for hour in hours(closed - 5 * HOUR, closed - 3 * HOUR)]
    await set_pair(connection, CONFIG, Wanted("W", "B", closed - 5 * HOUR + timedelta(seconds=59), closed - 3 * HOUR))
    assert await marks(connection) == [("W", hour) for hour in hours(closed - 6 * HOUR, closed - 3 * HOUR)]


async def test_other_vehicles_that_a_change_concerns_are_marked(connection: Any) -> None:
    now = await now_of(connection)
    closed = now.replace(minute=0, second=0, microsecond=0)
    await close_hours(connection, closed, (closed - timedelta(days=9)).date())
    await connection.execute(
        "INSERT INTO vehicle_current (vehicle_id, timestamp, soc, kwh_delivered_dc, battery_temp)"
        " SELECT vehicle_id, now(), 50, 1, 20"
        " FROM unnest(ARRAY['VEHICLE_1', 'VEHICLE_2', '3', 'VEHICLE_9']) AS vehicle_id"
    )
    start = closed - 2 * HOUR + timedelta(minutes=30)
    marked = hours(closed - 2 * HOUR, closed - HOUR)
    # METER_1 feeds VEHICLE_1 by its id, and from now on another one.
    await set_pair(connection, CONFIG, Wanted("V", "METER_1", start))
    assert await marks(connection) == [(vehicle, hour) for vehicle in ("V", "VEHICLE_1") for hour in marked]
    # That goes back to it, and METER_3 goes from vehicle 3, whose id has no prefix, to V.
    await set_pair(connection, CONFIG, Wanted("V", "METER_3", start))
    assert await marks(connection) == [(vehicle, hour) for vehicle in ("3", "V", "VEHICLE_1") for hour in marked]
    # The row of another vehicle ends.
    await set_pair(connection, CONFIG, Wanted("W", "METER_3", start + timedelta(minutes=10)))
    assert await marks(connection) == [(vehicle, hour) for vehicle in ("3", "V", "W") for hour in marked]


async def test_only_days_that_have_readings_are_marked(connection: Any) -> None:
    now = await now_of(connection)
    closed = now.replace(minute=0, second=0, microsecond=0)
    await set_pair(connection, CONFIG, Wanted("V", "A", closed - timedelta(days=399)))
    assert await marks(connection) == []  # no hour is closed at all
    await close_hours(connection, closed, (closed - timedelta(days=1)).date())
    await set_pair(connection, CONFIG, Wanted("W", "B", closed - timedelta(days=399)))
    midnight = (closed - timedelta(days=1)).replace(hour=0)
    assert await marks(connection) == [("W", hour) for hour in hours(midnight, closed - HOUR)]
    await connection.execute(
        "INSERT INTO archive_part (kind, day, part, state, readings, booked) VALUES ('meter', $1, 1, 'archived', 1, 1)",
        (closed - timedelta(days=3)).date(),
    )
    await set_pair(connection, CONFIG, Wanted("X", "C", closed - timedelta(days=399)))
    assert await marks(connection) == [("X", hour) for hour in hours(midnight - timedelta(days=2), closed - HOUR)]


async def test_no_hour_is_closed_while_a_change_is_not_committed(
    database_url: str, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour that is closed after the marks were made is rolled up after the commit."""
    other = await connect(database_url, "other", 10)
    got = []
    plain = pairs._merged

    def look(spans: Any) -> Any:
        got.append("asked")
        return plain(spans)

    monkeypatch.setattr(pairs, "_merged", look)
    transaction = connection.transaction()
    await transaction.start()
    await set_pair(connection, CONFIG, Wanted("V", "A"))
    assert got
    assert await other.fetchval("SELECT pg_try_advisory_lock(hseie_rollup_lock())") is False
    await transaction.commit()
    assert await other.fetchval("SELECT pg_try_advisory_lock(hseie_rollup_lock())") is True
    await other.close()


async def test_a_change_that_touches_too_much_is_refused_whole(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await now_of(connection)
    closed = now.replace(minute=0, second=0, microsecond=0)
    await close_hours(connection, closed, (closed - timedelta(days=20)).date())
    monkeypatch.setattr(pairs, "MARKS_MAX", 24)
    with pytest.raises(InvalidPairError):
        await set_pair(connection, CONFIG, Wanted("V", "A", closed - 24 * HOUR))  # 25 with the neighbours' hour
    assert (await rows(connection), await marks(connection)) == ([], [])
    await set_pair(connection, CONFIG, Wanted("V", "A", closed - 23 * HOUR))
    assert len(await marks(connection)) == 24


# --- whatever is done -------------------------------------------------------------------------------------------------


class Bench:
    """A database, and a loop to talk to it from tests that are no coroutines."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.connection = self.runner.run(connect(url, "tests", 10))

    def close(self) -> None:
        self.runner.run(self.connection.close())
        self.runner.close()


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    bench = Bench(database_url)
    yield bench
    bench.close()


VEHICLES, METERS = ("V", "W", "X"), ("A", "B", None)
offsets = st.none() | st.integers(-20, 20).map(lambda minutes: timedelta(minutes=minutes))
steps = st.tuples(
    st.sampled_from(("set", "set", "set", "end", "remove")),
    st.sampled_from(VEHICLES),
    st.sampled_from(METERS),
    offsets,
    offsets,
)
_OVERLAPS = """
SELECT count(*) FROM device_pair AS one JOIN device_pair AS other
ON one.ctid < other.ctid AND (one.vehicle_id = other.vehicle_id OR one.meter_id = other.meter_id)
AND tstzrange(one.valid_from, one.valid_to) && tstzrange(other.valid_from, other.valid_to)
"""
# As they lie on the page: xmin changes with every write to a row.
_ENDED = "SELECT xmin::text, ctid::text, device_pair::text FROM device_pair WHERE valid_to <= $1"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(done=st.lists(steps, max_size=12))
def test_rows_never_overlap_and_what_has_ended_is_not_touched(bench: Bench, done: list[Any]) -> None:
    async def play() -> None:
        connection = bench.connection
        await connection.execute("DELETE FROM device_pair")
        for name, vehicle, meter, start, end in done:
            now = await now_of(connection)
            ended = {tuple(row) for row in await connection.fetch(_ENDED, now)}
            first, last = (now + offset if offset is not None else None for offset in (start, end))
            try:
                if name == "set":
                    await set_pair(connection, CONFIG, Wanted(vehicle, meter, first, last))
                elif name == "end":
                    await end_pair(connection, CONFIG, vehicle, first)
                else:
                    await remove_pair(connection, CONFIG, vehicle, first or now)
            except HseieError:
                pass
            assert ended <= {tuple(row) for row in await connection.fetch(_ENDED, now)}
            assert await connection.fetchval(_OVERLAPS) == 0

    bench.runner.run(play())
