"""The energy of a vehicle over any window, from rollups and readings as they happen to be there, against the rule in
Python over all rows; and without looking at what rollups can answer twice."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hseie.analytics.correlation import Energy
from hseie.analytics.reader import Reader, Snapshot, TooManyQueriesError
from hseie.analytics.sums import Sums, VehicleSums
from hseie.archive import Archive
from hseie.config import Config, Retention
from hseie.errors import ArchiveUnavailableError, DatabaseUnavailableError
from hseie.pairing import Window
from hseie.readings import Kind
from tests.integration.rollup_oracle import DAY, HOUR, Facts, pairs, stretches
from tests.integration.rollup_steps import MIDNIGHT, VEHICLES, moments, readings, steps
from tests.integration.rollup_world import World, configured

MARK = "INSERT INTO rollup_mark (kind, device_id, bucket) SELECT {} FROM rollup_state"


class FakeArchive(Archive):
    """Holds in memory what files would; rows are (kind, device, time, id, values)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 64)
        self.rows: list[tuple[Any, ...]] = []
        self.asked = 0

    async def readings(self, parts: Any, kind: Kind, devices: Any, start: Any, end: Any, **order: Any) -> Any:
        self.asked += 1
        days = {part.day for part in parts if part.kind == kind.name}
        found = [
            (device, at, number, *values)
            for name, device, at, number, values in self.rows
            if name == kind.name and device in devices and start <= at < end and at.date() in days
        ]
        found.sort(key=lambda row: row[:3], reverse=bool(order.get("newest_first")))
        return found[: order.get("limit")]


class Asked(World):
    """A world that is asked for sums, and knows how often readings were looked at."""

    async def open(self) -> "Asked":
        await super().open()
        self.reader = await Reader.open(self.config, self.url, "tests", 1)
        self.archive = FakeArchive(self.config.archive_dir)
        return self

    async def close(self) -> None:
        await self.reader.close(1.0)
        await super().close()

    async def sums(self, vehicle: str, start: datetime, end: datetime) -> Sums:
        asked = VehicleSums(self.reader, self.archive, self.config)
        found = await asked.of(vehicle, Window(start, end, self.facts.tolerance))
        assert found is not None
        return found

    async def put_away(self, day: datetime) -> None:
        """Of lives that go on, nothing is archived: maintenance here has no such archive."""

    async def without_readings(self) -> None:
        """Take all readings away, so that only rollups can answer."""
        await self.writer.execute("TRUNCATE meter_history, vehicle_history")

    async def archive_day(self, day: date, state: str = "archived") -> None:
        """Move a UTC day from history to the archive, or give it up."""
        for kind, columns in (("meter", 2), ("vehicle", 3)):
            table = f"{kind}_history_{day:%Y_%m_%d}"
            await self.writer.execute("SELECT hseie_make_partition($1, $2)", kind, day)
            for row in await self.writer.fetch(f"SELECT * FROM {table}"):
                number, _, at, device, *values = row.values()
                assert len(values) == columns
                if state == "archived":
                    self.archive.rows.append((kind, device, at, number, tuple(values)))
            await self.writer.execute(f"DROP TABLE {table}")
            await self.writer.execute(
                "INSERT INTO archive_part (kind, day, part, state, file, readings, booked)"
                " VALUES ($1, $2, 1, $3, 'file', 1, 1)",
                kind,
                day,
                state,
            )


def by_hand(facts: Facts, vehicle: str, start: datetime, end: datetime) -> Energy:
    """The sums of [start, end), from all rows there are."""
    rows = pairs(facts, lambda at: start <= at < end)  # type: ignore[arg-type, return-value]
    found = [Energy(*row) for (name, inside, _), row in rows.items() if name == vehicle and inside]
    return sum(found, Energy())


def events_by_hand(facts: Facts, vehicle: str, start: datetime, end: datetime) -> list[str]:
    found = {
        event
        for meter, first, last in stretches(facts, vehicle)
        for kind, device in (("meter", meter or ""), ("vehicle", vehicle))
        if facts.registers(kind, device)
        for at, event in facts.events(kind, device).items()
        if max(start, first) <= at < min(end, last)
    }
    return sorted(found)


@pytest.fixture
def world(database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Asked]:
    world = runner.run(Asked(configured(tmp_path), database_url).open())
    runner.run(world.reset(MIDNIGHT - 5 * HOUR))
    yield world
    runner.run(world.close())


async def check(world: Asked, start: datetime, end: datetime) -> None:
    for vehicle in VEHICLES:
        if vehicle in world.facts.devices("vehicle"):
            found = await world.sums(vehicle, start, end)
            assert found.energy == by_hand(world.facts, vehicle, start, end), vehicle
            assert found.events == events_by_hand(world.facts, vehicle, start, end), vehicle


windows = st.lists(moments, min_size=2, max_size=2, unique=True).map(sorted)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=steps, asked=st.lists(windows, min_size=2, max_size=2), late=st.lists(readings, max_size=3))
def test_at_any_moment_sums_say_what_the_rows_say(
    world: Asked, runner: asyncio.Runner, steps: Any, asked: Any, late: Any
) -> None:
    async def play() -> None:
        await world.reset(MIDNIGHT - 5 * HOUR)
        for step in steps:
            await world.take(step)
            for window in asked:
                await check(world, *window)
        await world.round(MIDNIGHT + timedelta(days=1, hours=2))
        await check(world, MIDNIGHT - DAY, MIDNIGHT + DAY)
        await world.store(*late)
        await check(world, MIDNIGHT - DAY, MIDNIGHT + DAY)

    runner.run(play())


# --- which of both answers --------------------------------------------------------------------------------------------


def _values(kind: str, kwh: str) -> tuple[Decimal, ...]:
    return (Decimal(kwh), Decimal(230)) if kind == "meter" else (Decimal(50), Decimal(kwh), Decimal(25))


def _row(kind: str, device: str, at: datetime, kwh: str) -> Any:
    return kind, device, at, _values(kind, kwh)


async def _filled(world: Asked, start: datetime, end: datetime) -> None:
    """A pair that reports every five minutes, the vehicle 7 s later."""
    rows = []
    at = start
    while at < end:
        rows += [_row("meter", "METER_1", at, "1"), _row("vehicle", "VEHICLE_1", at + timedelta(seconds=7), "0.9")]
        at += timedelta(minutes=5)
    await world.store(*rows)


def test_whole_hours_and_days_come_from_rollups(world: Asked, runner: asyncio.Runner) -> None:
    async def play() -> None:
        start, end = MIDNIGHT - 3 * HOUR, MIDNIGHT + 26 * HOUR
        await _filled(world, start, end)
        await world.round(end + timedelta(minutes=3))
        whole = await world.sums("VEHICLE_1", start, end)
        assert whole.energy.correlated == 29 * 12
        await world.without_readings()
        assert (await world.sums("VEHICLE_1", start, end)).energy == whole.energy
        await world.writer.execute("DELETE FROM pair_hour WHERE bucket >= $1 AND bucket < $2", MIDNIGHT, MIDNIGHT + DAY)
        assert (await world.sums("VEHICLE_1", start, end)).energy == whole.energy, "the day is one row"
        # The edges are not whole: readings are asked, and there are none.
        shifted = await world.sums("VEHICLE_1", start + timedelta(minutes=1), end - timedelta(minutes=1))
        assert shifted.energy.correlated == 27 * 12

    runner.run(play())


@pytest.mark.parametrize(
    ("change", "hours_read"),
    [
        ("UPDATE rollup_state SET settings = 'others'", 3),
        ("UPDATE pair_by_id SET meter_id = 'METER_9'", 3),
        ("DELETE FROM pair_by_id", 3),
        ("UPDATE rollup_state SET rolled_until = rolled_until - interval '1 hour'", 1),
        ("UPDATE rollup_state SET hours_from = rolled_until - interval '1 hour'", 2),
        (MARK.format("'meter', 'METER_1', rolled_until - interval '1 hour'"), 2),
        (MARK.format("'pair', 'VEHICLE_1', rolled_until - interval '2 hour'"), 3),
        (MARK.format("'meter', 'METER_1', rolled_until"), 1),
        (MARK.format("'meter', 'METER_2', rolled_until"), 0),
    ],
)  # fmt: skip
def test_what_rollups_cannot_be_trusted_for_is_read(
    world: Asked, runner: asyncio.Runner, change: str, hours_read: int
) -> None:
    async def play() -> None:
        start, end = MIDNIGHT - 4 * HOUR, MIDNIGHT - HOUR
        await _filled(world, start, end)
        await world.round(end + timedelta(minutes=3))
        await world.writer.execute(change)
        assert (await world.sums("VEHICLE_1", start, end)).energy.correlated == 36
        await world.without_readings()
        assert (await world.sums("VEHICLE_1", start, end)).energy.correlated == 36 - 12 * hours_read

    runner.run(play())


def test_a_meter_may_be_a_register_and_the_vehicle_of_its_id_none(world: Asked, runner: asyncio.Runner) -> None:
    async def play() -> None:
        start = MIDNIGHT - 5 * HOUR
        for hours, shown, kwh in ((0, "100", "7"), (1, "107", "6"), (3, "120", "5")):
            at = start + hours * HOUR
            await world.store(_row("meter", "VEHICLE_S1", at, shown), _row("vehicle", "VEHICLE_S1", at, kwh))
        for rounds in range(2):
            found = await world.sums("VEHICLE_S1", start, MIDNIGHT)
            assert (found.energy.ac_kwh, found.energy.dc_kwh) == (Decimal(20), Decimal(18)), rounds
            assert found.energy == by_hand(world.facts, "VEHICLE_S1", start, MIDNIGHT)
            await world.round(MIDNIGHT + timedelta(minutes=3))
        await world.prove()
        # Of the vehicle only what lies beside its mark is read; the meter's next step, two hours later, is another.
        await world.store(_row("vehicle", "VEHICLE_S1", start, "8"), _row("meter", "VEHICLE_S1", start + HOUR, "110"))
        found = await world.sums("VEHICLE_S1", start, MIDNIGHT)
        assert (found.energy.ac_kwh, found.energy.dc_kwh) == (Decimal(20), Decimal(19))
        last = await world.sums("VEHICLE_S1", start + 2 * HOUR, MIDNIGHT)
        assert (last.energy.ac_kwh, last.energy.dc_kwh) == (Decimal(10), Decimal(5))
        await world.round()
        await world.prove()

    runner.run(play())


def test_a_late_reading_of_a_register_spoils_all_after_it(world: Asked, runner: asyncio.Runner) -> None:
    async def play() -> None:
        start = MIDNIGHT - 5 * HOUR
        for kind, device in (("meter", "METER_R1"), ("vehicle", "VEHICLE_R1")):
            await world.store(_row(kind, device, start, "0"), _row(kind, device, start + 4 * HOUR, "4"))
        await world.round(MIDNIGHT + timedelta(minutes=3))
        assert (await world.sums("VEHICLE_R1", start, MIDNIGHT)).energy.ac_kwh == Decimal(4)
        # Four hours later, far from its hour, a register is compared with it.
        await world.store(_row("meter", "METER_R1", start + timedelta(minutes=30), "0.75"))
        assert (await world.sums("VEHICLE_R1", start, MIDNIGHT)).energy.ac_kwh == Decimal("3.25")

    runner.run(play())


def test_what_happened_to_a_register_is_asked_of_the_meter_that_feeds_the_vehicle(
    world: Asked, runner: asyncio.Runner
) -> None:
    async def play() -> None:
        start = MIDNIGHT - 5 * HOUR
        for hours, shown in ((0, "100"), (1, "107"), (2, "3")):
            at = start + hours * HOUR
            await world.store(
                _row("meter", "METER_R1", at, shown), *(_row("vehicle", f"VEHICLE_{n}", at, "1") for n in (1, 2))
            )
        await world.pair("VEHICLE_2", "METER_R1", start - HOUR, MIDNIGHT + HOUR)
        await world.round(MIDNIGHT + timedelta(minutes=3))
        await world.prove()
        sums = VehicleSums(world.reader, world.archive, world.config)
        window = Window(start, MIDNIGHT, world.facts.tolerance)
        await sums.of("VEHICLE_1", window)  # from now on it is known how far rollups are: all of the window is in them
        for _ in range(2):
            found = await sums.of("VEHICLE_2", window)
            assert found is not None
            assert (found.energy.ac_kwh, found.events) == (Decimal(10), ["reset"])

    runner.run(play())


# --- days that are not in history -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [True, False])
def test_archived_days_answer_as_before(world: Asked, runner: asyncio.Runner, rounds: bool) -> None:
    async def play() -> None:
        await _filled(world, MIDNIGHT - 3 * HOUR, MIDNIGHT + 3 * HOUR)
        # A correction, of which one row is archived and the other comes later.
        await world.store(_row("meter", "METER_1", MIDNIGHT - HOUR, "5"))
        if rounds:
            await world.round(MIDNIGHT + timedelta(hours=4))
        start, end = MIDNIGHT - timedelta(minutes=100), MIDNIGHT + timedelta(minutes=100)
        before = await world.sums("VEHICLE_1", start, end)
        await world.archive_day(date(2026, 2, 9))
        assert (await world.sums("VEHICLE_1", start, end)).energy == before.energy
        assert world.archive.asked > 0
        await world.store(_row("meter", "METER_1", MIDNIGHT - HOUR, "7"))
        after = await world.sums("VEHICLE_1", start, end)
        assert after.energy.ac_kwh == before.energy.ac_kwh + 2

    runner.run(play())


def test_a_register_is_compared_with_the_newest_before_wherever_it_is(world: Asked, runner: asyncio.Runner) -> None:
    async def play() -> None:
        for vehicle, meter, kwh in ((MIDNIGHT - 2 * HOUR, MIDNIGHT - 2 * HOUR, "10"), (MIDNIGHT, MIDNIGHT, "14")):
            await world.store(
                _row("meter", "METER_R1", meter, kwh), _row("vehicle", "VEHICLE_R1", vehicle, str(int(kwh) - 1))
            )
        await world.archive_day(date(2026, 2, 9))
        # What comes late for an older day is in history, and not the newest before.
        await world.store(_row("meter", "METER_R1", MIDNIGHT - 30 * HOUR, "3"))
        found = await world.sums("VEHICLE_R1", MIDNIGHT, MIDNIGHT + HOUR)
        assert (found.energy.ac_kwh, found.energy.dc_kwh) == (Decimal(4), Decimal(4))

    runner.run(play())


def test_a_bound_in_a_day_that_was_given_up_moves_to_the_hour(world: Asked, runner: asyncio.Runner) -> None:
    async def play() -> None:
        await _filled(world, MIDNIGHT - 3 * HOUR, MIDNIGHT + 3 * HOUR)
        await world.round(MIDNIGHT + timedelta(hours=4))
        await world.archive_day(date(2026, 2, 9), "dropped")
        await world.mark("meter", "METER_1", MIDNIGHT - 2 * HOUR)
        start, end = MIDNIGHT - timedelta(minutes=90), MIDNIGHT + timedelta(minutes=90)
        found = await world.sums("VEHICLE_1", start, end)
        assert (found.window.start, found.window.end) == (MIDNIGHT - 2 * HOUR, end)
        assert found.energy.correlated == 24 + 18
        both = await world.sums("VEHICLE_1", start, MIDNIGHT - timedelta(minutes=45))
        assert (both.window.start, both.window.end) == (MIDNIGHT - 2 * HOUR, MIDNIGHT)
        assert both.energy.correlated == 24

    runner.run(play())


@pytest.mark.parametrize("change", ["UPDATE rollup_state SET settings = 'others'", "DELETE FROM pair_by_id"])
def test_of_days_that_were_given_up_rollups_answer_however_they_were_made(
    world: Asked, runner: asyncio.Runner, change: str
) -> None:
    async def play() -> None:
        start, end = MIDNIGHT - 3 * HOUR, MIDNIGHT + 3 * HOUR
        await _filled(world, start, end)
        await world.round(MIDNIGHT + timedelta(hours=4))
        before = await world.sums("VEHICLE_1", start, end)
        await world.archive_day(date(2026, 2, 9), "dropped")
        await world.writer.execute(change)
        assert (await world.sums("VEHICLE_1", start, end)).energy == before.energy
        whole = await world.sums("VEHICLE_1", MIDNIGHT - DAY, MIDNIGHT)
        assert whole.energy.correlated == 36

    runner.run(play())


@pytest.mark.parametrize("rounds", [True, False])
def test_edges_that_lie_far_apart_are_asked_for_one_by_one(
    world: Asked, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, rounds: bool
) -> None:
    """Each of them has partitions of a day or two to plan, not all that lie between."""
    spans: list[timedelta] = []
    original = Snapshot.rows

    async def rows(snapshot: Snapshot, name: str, *values: Any, **more: Any) -> Any:
        if name == "performance_correlate":
            spans.append(values[9] - values[8])
        return await original(snapshot, name, *values, **more)

    monkeypatch.setattr(Snapshot, "rows", rows)

    async def play() -> None:
        start, end = MIDNIGHT - 4 * DAY - HOUR / 2, MIDNIGHT + HOUR / 2
        await _filled(world, start - HOUR, start + HOUR)
        await _filled(world, end - HOUR, end + HOUR)
        if rounds:
            await world.round(MIDNIGHT + 3 * HOUR)
        found = await world.sums("VEHICLE_1", start, end)
        assert found.energy == by_hand(world.facts, "VEHICLE_1", start, end)
        assert found.energy.correlated == 24
        assert len(spans) == (2 if rounds else 0), "what lies together comes with the statement that says what there is"
        assert all(span < HOUR for span in spans)
        spans.clear()
        await world.sums("VEHICLE_1", end - DAY, end)
        assert spans == [], "for a day one statement is cheaper than two"

    runner.run(play())


def test_an_answer_takes_so_many_archived_readings_and_no_more(
    world: Asked, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        await _filled(world, MIDNIGHT - 3 * HOUR, MIDNIGHT)
        await world.archive_day(date(2026, 2, 9))
        monkeypatch.setattr("hseie.analytics.given.ARCHIVED_MAX", 36)
        assert (await world.sums("VEHICLE_1", MIDNIGHT - 3 * HOUR, MIDNIGHT)).energy.correlated == 36
        monkeypatch.setattr("hseie.analytics.given.ARCHIVED_MAX", 35)
        with pytest.raises(ArchiveUnavailableError):
            await world.sums("VEHICLE_1", MIDNIGHT - 3 * HOUR, MIDNIGHT)
        assert world.reader.outcomes.get("error", 0) == 0

    runner.run(play())


async def test_questions_that_wait_for_files_leave_a_connection_to_the_others(
    database_url: str, tmp_path: Path
) -> None:
    config = configured(tmp_path, analytics__connections=2, analytics__statement_timeout_ms=2000)
    reader = await Reader.open(config, database_url, "tests", 2)
    world = await Asked(config, database_url).open()
    await world.reset(MIDNIGHT)
    await _filled(world, MIDNIGHT - 3 * HOUR, MIDNIGHT)
    await world.archive_day(date(2026, 2, 9))
    asked = VehicleSums(reader, world.archive, config)
    asking, going_on = asyncio.Event(), asyncio.Event()
    readings = world.archive.readings

    async def slow(*given: Any, **order: Any) -> Any:
        asking.set()
        await going_on.wait()
        return await readings(*given, **order)

    world.archive.readings = slow  # type: ignore[method-assign]
    window = Window(MIDNIGHT - 3 * HOUR, MIDNIGHT, world.facts.tolerance)
    first = asyncio.create_task(asked.of("VEHICLE_1", window))
    await asking.wait()
    with pytest.raises(TooManyQueriesError):
        await asked.of("VEHICLE_1", window)
    with pytest.raises(ArchiveUnavailableError, match="in time"):
        await first
    going_on.set()
    assert await asked.of("VEHICLE_1", window) is not None
    await reader.close(1.0)
    await world.close()


async def test_a_snapshot_sees_one_moment(database_url: str, tmp_path: Path) -> None:
    world = await Asked(configured(tmp_path), database_url).open()
    await world.reset(MIDNIGHT)
    other = await Reader.open(Config(), database_url, "tests", 1)
    async with other.snapshot() as snapshot:
        assert len(await snapshot.rows("fleet_active_vehicles", MIDNIGHT - DAY, 10)) == 0
        await world.store(_row("vehicle", "VEHICLE_1", MIDNIGHT, "1"))
        assert len(await snapshot.rows("fleet_active_vehicles", MIDNIGHT - DAY, 10)) == 0
        with pytest.raises(Exception, match="read-only"):
            await snapshot.fetch("DELETE FROM vehicle_current")
    assert len(await other.rows("fleet_active_vehicles", MIDNIGHT - DAY, 10)) == 1
    await other.close(1.0)
    await world.close()


async def _fail_between(reader: Reader) -> None:
    async with reader.snapshot() as snapshot:
        await snapshot.rows("health_ping")
        raise ArchiveUnavailableError


async def test_a_snapshot_that_is_left_leaves_nothing_behind(database_url: str) -> None:
    reader = await Reader.open(Config(), database_url, "tests", 1)
    with pytest.raises(ArchiveUnavailableError):
        await _fail_between(reader)
    with pytest.raises(DatabaseUnavailableError):
        async with reader.snapshot() as snapshot:
            await snapshot.fetch("SELECT pg_terminate_backend(pg_backend_pid())")
    assert reader.outcomes == {"answered": 1, "unavailable": 1}
    assert reader.busy == 0
    state = await reader.rows("health_ping")
    assert len(state) == 1
    async with reader.snapshot() as snapshot:
        [row] = await snapshot.fetch("SHOW transaction_isolation")
        assert row["transaction_isolation"] == "repeatable read"
    async with reader._connection("tests") as connection:
        assert not connection.is_in_transaction()
    await reader.close(1.0)


async def test_who_waits_longest_is_asked_for_next(database_url: str) -> None:
    reader = await Reader.open(Config(), database_url, "tests", 2)
    arrivals = itertools.count()
    served: list[int] = []

    async def ask() -> None:
        for _ in range(50):
            arrived = next(arrivals)
            async with reader._connection("tests") as connection:
                served.append(arrived)
                await connection.fetchval("SELECT 1")

    await asyncio.gather(*(reader.rows("health_ping") for _ in range(2)))  # both are connected
    await asyncio.gather(*(ask() for _ in range(7)))
    # Two that have their turn in the same moment may have their connection in either order.
    assert max(abs(arrived - place) for place, arrived in enumerate(served)) <= 1
    await reader.close(1.0)


async def test_a_cancelled_snapshot_gives_its_connection_back(database_url: str) -> None:
    reader = await Reader.open(Config(), database_url, "tests", 1)
    inside = asyncio.Event()

    async def asked() -> None:
        async with reader.snapshot() as snapshot:
            inside.set()
            await snapshot.fetch("SELECT pg_sleep(30)")

    task = asyncio.create_task(asked())
    await inside.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await reader.rows("health_ping")) == 1
    async with reader._connection("tests") as connection:
        assert not connection.is_in_transaction()
    await reader.close(1.0)


def test_a_guess_saves_a_statement_and_no_more(
    world: Asked, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was so for the question before is taken to be so, and looked at all the same."""
    asked: list[str] = []

    def counted(asker: type[Reader | Snapshot]) -> Any:
        rows = asker.rows

        async def noted(self: Any, name: str, *values: Any, kind: Kind | None = None) -> Any:
            asked.append(f"{asker.__name__} {name}")
            return await rows(self, name, *values, kind=kind)

        return noted

    at_once, again = "Reader performance_at_once", "Snapshot performance_at_once"

    async def play() -> None:
        start, end = MIDNIGHT - 4 * HOUR, MIDNIGHT - HOUR
        await _filled(world, start, end)
        await world.round(end + timedelta(minutes=3))
        sums = VehicleSums(world.reader, world.archive, world.config)
        for asker in (Reader, Snapshot):
            monkeypatch.setattr(asker, "rows", counted(asker))

        async def correlated() -> int:
            asked.clear()
            found = await sums.of("VEHICLE_1", Window(start, end, world.facts.tolerance))
            assert found is not None
            return found.energy.correlated

        assert (await correlated(), asked) == (36, [at_once, again]), "nothing is known at first"
        assert (await correlated(), asked) == (36, [at_once]), "nor a snapshot"
        await world.store(_row("meter", "METER_1", end - timedelta(minutes=5), "2"))
        assert (await correlated(), asked) == (36, [at_once, again]), "a mark was not to be guessed"
        await world.store(_row("meter", "VEHICLE_1", end - timedelta(minutes=5), "1"))
        assert await correlated() == 1, "another meter by the same id"
        await world.writer.execute("DELETE FROM meter_current WHERE meter_id = 'VEHICLE_1'")
        await world.writer.execute("DELETE FROM rollup_mark")
        assert await correlated() == 36
        await world.writer.execute("UPDATE rollup_state SET rolled_until = rolled_until - interval '2 hours'")
        await world.without_readings()
        assert await correlated() == 12

    runner.run(play())


def test_guesses_are_kept_of_so_many_vehicles(
    world: Asked, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.analytics.sums.GUESSES_MAX", 2)

    async def play() -> None:
        sums = VehicleSums(world.reader, world.archive, world.config)
        for vehicle in ("VEHICLE_1", "VEHICLE_2", "VEHICLE_1", "VEHICLE_3"):
            await world.store(_row("vehicle", vehicle, MIDNIGHT, "1"))
            await sums.of(vehicle, Window(MIDNIGHT, MIDNIGHT + HOUR, world.facts.tolerance))
        assert list(sums._fed_by) == ["VEHICLE_1", "VEHICLE_3"]

    runner.run(play())


@pytest.mark.parametrize(("raw_days", "mode"), [(35, "force_generic_plan"), (101, "force_custom_plan"), (0, "")])
async def test_plans_are_kept_where_history_has_few_days(database_url: str, raw_days: int, mode: str) -> None:
    config = Config(retention=Retention(raw_days=raw_days))
    reader = await Reader.open(config, database_url, "tests", 1)
    async with reader.snapshot() as snapshot:
        [row] = await snapshot.fetch("SHOW plan_cache_mode")
        assert row["plan_cache_mode"] == (mode or "force_custom_plan")
    async with reader._connection("tests") as connection:
        assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
    await reader.close(1.0)
    at_once = await Reader.open(config, database_url, "tests", 1, keeps_plans=True)
    async with at_once._connection("tests") as connection:
        assert await connection.fetchval("SHOW plan_cache_mode") == (mode or "force_custom_plan")
    await at_once.close(1.0)
