"""Rollups say what the rows say, whatever the order in which readings, pairs, closings and late readings come."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from structlog.testing import capture_logs

from hseie.database import Failure, PostgresError, classify
from hseie.maintenance import rollup_state
from hseie.maintenance.rollups import RollupDuty
from tests.integration.rollup_oracle import DAY, HOUR
from tests.integration.rollup_steps import MIDNIGHT, NOON, meter, seconds, steps, vehicle
from tests.integration.rollup_world import World, configured


@pytest.fixture
def world(database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[World]:
    world = runner.run(World(configured(tmp_path), database_url).open())
    runner.run(world.reset(NOON))
    yield world
    runner.run(world.close())


@pytest.mark.timeout(600)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=steps)
def test_whatever_the_order_rollups_say_what_the_rows_say(world: World, runner: asyncio.Runner, steps: Any) -> None:
    async def play() -> None:
        await world.reset(MIDNIGHT - 5 * HOUR)
        for step in steps:
            await world.take(step)
        await world.round(MIDNIGHT + timedelta(days=1, hours=2))
        await world.prove()

    runner.run(play())


@pytest.fixture
async def fresh(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    world = await World(configured(tmp_path), database_url).open()
    await world.reset(NOON)
    yield world
    await world.close()


async def test_a_late_reading_changes_the_hour_beside_its_own(fresh: World) -> None:
    await fresh.store(vehicle(NOON - seconds(10), 1), meter(NOON - seconds(35), 2))
    await fresh.round(NOON + 2 * HOUR)
    [before] = [row for key, row in (await fresh.rows("pair_hour")).items() if key[1] == NOON - HOUR]
    assert before[2] == 1  # correlated
    await fresh.store(meter(NOON + seconds(5), 4))  # nearer to the vehicle's reading, but in the next hour
    await fresh.round()
    await fresh.prove()
    rows = await fresh.rows("pair_hour")
    assert rows[("VEHICLE_1", NOON - HOUR, "METER_1")][3] == 4


async def test_a_late_reading_of_a_register_changes_the_step_of_the_next_one(fresh: World) -> None:
    late = NOON + seconds(1)
    await fresh.store(meter(NOON - HOUR, 100, "METER_R1"), meter(NOON + 3 * HOUR, 130, "METER_R1"))
    await fresh.store(vehicle(NOON + 3 * HOUR, 20, "VEHICLE_R1"))
    await fresh.round(NOON + 5 * HOUR)
    assert (await fresh.rows("meter_hour"))[("METER_R1", NOON + 3 * HOUR)][1] == 30
    await fresh.store(meter(late, 110, "METER_R1"))
    await fresh.round()
    await fresh.prove()
    assert (await fresh.rows("meter_hour"))[("METER_R1", NOON + 3 * HOUR)][1] == 20
    assert (await fresh.rows("pair_hour"))[("VEHICLE_R1", NOON + 3 * HOUR, "METER_R1")][3] == 20


async def test_a_correction_takes_back_what_happened_to_a_register(fresh: World) -> None:
    await fresh.store(meter(NOON, 100, "METER_R1"), meter(NOON + HOUR, 9000, "METER_R1"))
    await fresh.round(NOON + 3 * HOUR)
    await fresh.prove()
    assert len(await fresh.writer.fetch("SELECT * FROM register_event WHERE event = 'jump'")) == 1
    await fresh.store(meter(NOON + HOUR, 101, "METER_R1"))
    await fresh.round()
    await fresh.prove()
    assert await fresh.writer.fetch("SELECT * FROM register_event") == []


async def test_a_preferred_meter_and_a_new_vehicle_change_the_whole_past(fresh: World) -> None:
    await fresh.store(meter(NOON, 5), meter(NOON + HOUR, 5), meter(NOON + 2 * HOUR, 5, "METER_2"))
    await fresh.store(vehicle(NOON + seconds(3), 4))
    await fresh.round(NOON + 4 * HOUR)
    await fresh.prove()
    # Both become known by readings of an hour that is not closed yet.
    await fresh.store(meter(NOON + 5 * HOUR, 7, "VEHICLE_1"), vehicle(NOON + 5 * HOUR, 1, "VEHICLE_2"))
    await fresh.round(NOON + 7 * HOUR)
    await fresh.prove()
    rows = await fresh.rows("pair_hour")
    assert ("VEHICLE_1", NOON, "VEHICLE_1") in rows
    assert ("VEHICLE_1", NOON, "METER_1") not in rows
    assert ("VEHICLE_2", NOON + 2 * HOUR, "METER_2") in rows


async def test_a_flush_that_ends_while_hours_are_closed_is_not_lost(fresh: World) -> None:
    """The writer has looked before the closing, and commits after it: the closing waits for it, or comes later."""
    await fresh.store(meter(NOON + seconds(1), 5), vehicle(NOON + seconds(2), 4))
    transaction = fresh.writer.transaction()
    await transaction.start()
    await fresh.store_open(meter(NOON + seconds(30), 6))
    fresh.now = NOON + 2 * HOUR
    await fresh.maintenance.execute("SET lock_timeout = '100ms'")
    with pytest.raises(PostgresError) as caught:
        await fresh.duty.work(fresh.maintenance, fresh.now)
    assert classify(caught.value) is Failure.RETRY
    await transaction.commit()
    await fresh.round()
    await fresh.prove()
    assert (await fresh.rows("meter_hour"))[("METER_1", NOON)][0] == 2


async def test_a_flush_that_ends_while_hours_are_rolled_up_is_not_lost(fresh: World) -> None:
    """It begins when its hour is closed and not rolled up yet, and commits when that is done: its mark tells."""
    await fresh.store(meter(NOON + seconds(1), 5), vehicle(NOON + seconds(2), 4))
    await fresh.round(NOON)  # the first one takes note of the settings, alone
    await rollup_state.close(fresh.maintenance, NOON + 2 * HOUR)
    transaction = fresh.writer.transaction()
    await transaction.start()
    await fresh.store_open(meter(NOON + seconds(30), 6))
    await fresh.round(NOON + 2 * HOUR)
    assert (await fresh.rows("meter_hour"))[("METER_1", NOON)][0] == 1
    await transaction.commit()
    await fresh.round()
    await fresh.prove()
    assert (await fresh.rows("meter_hour"))[("METER_1", NOON)][0] == 2


async def test_a_mark_that_comes_while_its_bucket_is_made_anew_stays(fresh: World) -> None:
    await fresh.store(meter(NOON, 5))
    await fresh.round(NOON + 2 * HOUR)
    await fresh.store(meter(NOON + seconds(1), 5))
    remake = fresh.duty._remaking.remake

    async def meanwhile(*arguments: Any) -> None:
        await remake(*arguments)
        await fresh.store(meter(NOON + seconds(2), 5))

    fresh.duty._remaking.remake = meanwhile  # type: ignore[method-assign]
    await fresh.duty._marks.consume(fresh.maintenance)
    assert await fresh.writer.fetchval("SELECT count(*) FROM rollup_mark") == 1
    fresh.restart()
    await fresh.round()
    await fresh.prove()


async def test_marks_that_say_the_same_are_consumed_so_many_at_a_time(
    fresh: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fresh.store(meter(NOON, 5), meter(NOON, 5, "METER_2"))
    await fresh.round(NOON + 2 * HOUR)
    for count in range(5):
        await fresh.store(meter(NOON + seconds(count), 5))
    await fresh.store(meter(NOON + seconds(1), 5, "METER_2"))
    monkeypatch.setattr("hseie.maintenance.marks.IDS_AT_ONCE", 4)
    monkeypatch.setattr("hseie.maintenance.marks.MARKS_AT_ONCE", 6)
    consumed = []
    while count := await fresh.duty._marks.consume(fresh.maintenance):
        consumed.append(count)
    assert consumed == [3, 3], "two of each hour, or all there are; then of one hour all that are left"
    await fresh.prove()


async def test_a_mark_of_an_hour_that_is_not_rolled_up_waits(fresh: World) -> None:
    await fresh.round(NOON)
    await rollup_state.close(fresh.maintenance, NOON + 2 * HOUR)
    await fresh.store(meter(NOON + HOUR, 5))
    assert await fresh.duty._marks.consume(fresh.maintenance) == 0
    assert await fresh.writer.fetchval("SELECT count(*) FROM rollup_mark") == 1
    await fresh.round(NOON + 2 * HOUR)
    await fresh.prove()


async def test_other_settings_make_all_anew_that_can_be(fresh: World, tmp_path: Path) -> None:
    await fresh.store(meter(NOON - DAY, 5), vehicle(NOON - DAY + seconds(20), 4))
    await fresh.store(meter(NOON, 5), vehicle(NOON + seconds(20), 4), meter(NOON + seconds(600), 9))
    await fresh.round(NOON + 14 * HOUR)
    given_up = await fresh.rows("pair_hour")
    assert all(row[2] == 1 for row in given_up.values())
    for kind in ("meter", "vehicle"):
        await fresh.writer.execute(f"DROP TABLE {kind}_history_{NOON - DAY:%Y_%m_%d}")
        await fresh.writer.execute(
            "INSERT INTO archive_part (kind, day, part, state, readings, booked) VALUES ($1, $2, 1, 'dropped', 1, 1)",
            kind,
            (NOON - DAY).date(),
        )
    fresh.restart(configured(tmp_path, analytics__correlation_window_s=10))
    await fresh.round()
    rows = await fresh.rows("pair_hour")
    assert rows[("VEHICLE_1", NOON - DAY, "METER_1")] == given_up[("VEHICLE_1", NOON - DAY, "METER_1")]
    assert rows[("VEHICLE_1", NOON, "METER_1")][2] == 0
    # With register readings too: the same rows mean something else.
    fresh.restart(configured(tmp_path, device__energy="register"))
    await fresh.round()
    assert (await fresh.rows("meter_hour"))[("METER_1", NOON)][1] == 4
    assert (await fresh.rows("meter_hour"))[("METER_1", NOON - DAY)][1] == 5


async def test_a_late_reading_of_a_day_that_was_given_up_changes_nothing(fresh: World) -> None:
    await fresh.store(meter(NOON, 5), vehicle(NOON, 4))
    await fresh.round(NOON + 2 * HOUR)
    before = await fresh.rows("pair_hour")
    for kind in ("meter", "vehicle"):
        await fresh.writer.execute(f"DROP TABLE {kind}_history_{NOON:%Y_%m_%d}")
        await fresh.writer.execute(
            "INSERT INTO archive_part (kind, day, part, state, readings, booked) VALUES ($1, $2, 1, 'dropped', 1, 1)",
            kind,
            NOON.date(),
        )
    await fresh.store(meter(NOON + seconds(1), 7))
    await fresh.round(NOON + 2 * HOUR)
    assert await fresh.rows("pair_hour") == before
    assert fresh.duty.report()["rollup_marks"] == 0
    assert fresh.duty.report()["rollup_hours_left"] > 0


async def test_archived_days_are_rolled_up_and_made_anew(fresh: World) -> None:
    if not fresh.archive.available:
        pytest.skip("DuckDB is not installed: the extra `archive`")
    await fresh.store(meter(NOON - DAY, 5), vehicle(NOON - DAY + seconds(3), 4), meter(NOON - DAY, 100, "METER_R1"))
    await fresh.put_away(NOON - DAY)
    await fresh.store(meter(NOON, 5), meter(NOON, 130, "METER_R1"), vehicle(NOON, 20, "VEHICLE_R1"))
    await fresh.round(NOON + 2 * HOUR)
    await fresh.prove()
    assert (await fresh.rows("meter_hour"))[("METER_R1", NOON)][1] == 30  # since a reading in the archive
    await fresh.store(meter(NOON - DAY, 6), meter(NOON - DAY - HOUR, 90, "METER_R1"))
    await fresh.round()
    await fresh.prove()
    assert (await fresh.rows("pair_hour"))[("VEHICLE_1", NOON - DAY, "METER_1")][3] == 6


async def test_what_needs_a_file_that_is_away_waits_and_the_rest_does_not(fresh: World) -> None:
    if not fresh.archive.available:
        pytest.skip("DuckDB is not installed: the extra `archive`")
    early = NOON - 3 * DAY
    await fresh.store(meter(early, 5), meter(NOON, 5), vehicle(early, 4))
    await fresh.round(NOON + 2 * HOUR)
    await fresh.put_away(early)
    files = list(fresh.archive.folder.glob("*.parquet"))
    for file in files:
        file.rename(file.with_suffix(".away"))
    await fresh.store(meter(early + seconds(1), 6), meter(NOON + seconds(1), 6))
    with capture_logs() as logs:
        await fresh.round()
        await fresh.round()
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["archive_unavailable"]
    assert fresh.duty.report()["rollup_archive_away"]
    assert [row["bucket"] for row in await fresh.writer.fetch("SELECT * FROM rollup_mark")] == [early]
    assert (await fresh.rows("meter_hour"))[("METER_1", NOON)][:2] == (2, 11)
    for file in files:
        file.with_suffix(".away").rename(file)
    await fresh.round()
    await fresh.prove()
    assert not fresh.duty.report()["rollup_archive_away"]


async def test_a_failure_on_either_connection_leaves_the_hour_to_be_rolled_up_again(fresh: World) -> None:
    await fresh.store(meter(NOON, 5), vehicle(NOON, 4))
    make, fail = fresh.duty._rolling._buckets.make_pair_hours, iter([True])

    async def cut_off(*arguments: Any) -> None:
        if next(fail, False):
            raise TimeoutError
        await make(*arguments)

    fresh.duty._rolling._buckets.make_pair_hours = cut_off  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await fresh.round(NOON + 2 * HOUR)
    assert (await rollup_state.read(fresh.maintenance)).rolled_until == MIDNIGHT - DAY
    await fresh.round()
    await fresh.prove()
    # Where nobody gives it an address, one connection does both.
    fresh.duty = RollupDuty(structlog.get_logger(), fresh.config)
    await fresh.store(meter(NOON + 3 * HOUR, 5), vehicle(NOON + 3 * HOUR, 4))
    await fresh.round(NOON + 6 * HOUR)
    await fresh.prove()


async def test_history_from_before_is_rolled_up_and_gaps_are_passed_by(fresh: World) -> None:
    for day in (-380, -379, -3, 0):
        at = NOON + timedelta(days=day)
        await fresh.store(meter(at, 5), vehicle(at + seconds(3), 4), meter(at + 9 * HOUR, 1, "METER_R1"))
    spans = []
    roll = fresh.duty._rolling.roll

    async def noted(connection: Any, beside: Any, span: Any) -> None:
        spans.append(span)
        await roll(connection, beside, span)

    fresh.duty._rolling.roll = noted  # type: ignore[method-assign]
    await fresh.round(NOON + 20 * HOUR)
    await fresh.prove()
    assert len(spans) == 4  # of whole days
    assert await fresh.writer.fetchval("SELECT rolled_until FROM rollup_state") == NOON + 19 * HOUR


async def test_a_fresh_database_has_nothing_to_roll_up(fresh: World) -> None:
    await fresh.round(NOON)
    state = await rollup_state.read(fresh.maintenance)
    assert state.rolled_until == state.closed_until == NOON - HOUR
    assert fresh.duty.report()["rollup_lag_s"] > 0


async def test_what_is_closed_stays_closed_when_the_clock_is_set_back(fresh: World) -> None:
    await fresh.round(NOON)
    await fresh.duty.work(fresh.maintenance, NOON - 5 * HOUR)
    await rollup_state.close(fresh.maintenance, NOON - 5 * HOUR)
    assert (await rollup_state.read(fresh.maintenance)).closed_until == NOON - HOUR


async def test_rollups_are_deleted_when_they_are_old_enough(fresh: World, tmp_path: Path) -> None:
    fresh.restart(configured(tmp_path, retention__hourly_days=2, retention__daily_days=4, ingest__past_max_days=2))
    for day in range(7):
        at = NOON + timedelta(days=day)
        await fresh.store(meter(at, 5), vehicle(at + seconds(3), 4), meter(at, 10 * day, "METER_R1"))
        await fresh.store(meter(at, 9000 if day == 0 else 10 * day, "METER_R1"))
    await fresh.round(NOON + timedelta(days=7))
    state = await rollup_state.read(fresh.maintenance)
    assert state.hours_from == MIDNIGHT + timedelta(days=4)
    assert state.days_from == MIDNIGHT + timedelta(days=2)
    for table in ("meter_hour", "vehicle_hour", "pair_hour"):
        assert {key[1].date() for key in await fresh.rows(table)} == {
            (MIDNIGHT + timedelta(days=day)).date() for day in (4, 5)
        }
    for table in ("meter_day", "vehicle_day", "pair_day"):
        assert {key[1] for key in await fresh.rows(table)} == {MIDNIGHT + timedelta(days=day) for day in (2, 3, 4, 5)}
    # A late reading of a day whose hours are gone: the day is made of all its readings.
    await fresh.store(meter(NOON + timedelta(days=4, hours=-3), 2))
    await fresh.store(vehicle(NOON + timedelta(days=3, hours=-2), 3))
    await fresh.round()
    days = await fresh.rows("pair_day")
    assert days[("VEHICLE_1", MIDNIGHT + timedelta(days=2), "METER_1")][:2] == (1, 2)
    assert days[("VEHICLE_1", MIDNIGHT + timedelta(days=3), "METER_1")][:2] == (2, 1)


def test_a_late_neighbour_behind_the_boundary_changes_the_hour_before(world: World, runner: asyncio.Runner) -> None:
    async def play() -> None:
        hour = MIDNIGHT - HOUR
        await world.store(
            ("vehicle", "VEHICLE_2", hour - timedelta(seconds=1), (Decimal(50), Decimal(1), Decimal(25))),
            ("meter", "METER_2", hour - 2 * HOUR, (Decimal(1), Decimal(230))),
        )
        await world.round(hour + timedelta(minutes=3))
        await world.store(("meter", "METER_2", hour + timedelta(seconds=1), (Decimal(1), Decimal(230))))
        await world.round(MIDNIGHT + timedelta(minutes=3))
        await world.prove()

    runner.run(play())


@pytest.mark.parametrize(("tolerance_s", "margin"), [(30, 1), (31, 2), (1, 1), (1800, 60)])
def test_the_margin_follows_the_tolerance(
    world: World, runner: asyncio.Runner, tmp_path: Path, tolerance_s: int, margin: int
) -> None:
    async def play() -> None:
        world.restart(configured(tmp_path, analytics__correlation_window_s=tolerance_s))
        now = MIDNIGHT + timedelta(minutes=3)
        await world.round(now)
        found = await world.writer.fetchrow("SELECT margin, closed_until FROM rollup_state")
        assert found["margin"] == timedelta(minutes=margin)
        # No hour is closed while readings come in time that may be neighbours of what lies in it.
        assert found["closed_until"] <= now - found["margin"]

    runner.run(play())
