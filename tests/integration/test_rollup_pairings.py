"""Rollups of pairs follow what the ids say of devices that become known, however old they are."""

import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hseie.analytics.rolled import Hours, rolled
from hseie.analytics.waiting import Waiting
from hseie.errors import ArchiveUnavailableError
from hseie.pairing import candidates
from hseie.rollup_settings import settings_of
from tests.integration.rollup_oracle import DAY, HOUR
from tests.integration.rollup_steps import MIDNIGHT, NOON, meter, vehicle
from tests.integration.rollup_world import configured
from tests.integration.test_performance_sums import Asked, FakeArchive, by_hand


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[Asked]:
    world = await Asked(configured(tmp_path), database_url).open()
    await world.reset(MIDNIGHT - 5 * DAY)
    yield world
    await world.close()


async def check(world: Asked, start: datetime, end: datetime) -> None:
    found = await world.sums("VEHICLE_1", start, end)
    assert found.energy == by_hand(world.facts, "VEHICLE_1", start, end)


async def test_a_preferred_meter_changes_days_whose_hours_are_gone(world: Asked, tmp_path: Path) -> None:
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(vehicle(NOON, 4), meter(NOON, 5), vehicle(NOON + 5 * DAY, 1), meter(NOON + 5 * DAY, 1))
    await world.round(NOON + 5 * DAY + 3 * HOUR)
    assert not [key for key in await world.rows("pair_hour") if key[1] < MIDNIGHT]
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    await world.store(meter(NOON + 5 * DAY + 4 * HOUR, 1, "VEHICLE_1"))
    await world.round(NOON + 5 * DAY + 6 * HOUR)
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    assert [key[2] for key in await world.rows("pair_day") if key[1] < MIDNIGHT] == ["VEHICLE_1"]


async def test_a_new_meter_with_readings_of_a_day_whose_hours_are_gone(world: Asked, tmp_path: Path) -> None:
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(vehicle(NOON, 4), vehicle(NOON + 5 * DAY, 1))
    await world.round(NOON + 5 * DAY + 3 * HOUR)
    await world.store(meter(NOON, 5))
    await world.round()
    world.duty._expiry_due_s = 0.0
    await world.round()
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    await world.round(NOON + 5 * DAY + 6 * HOUR)
    await check(world, MIDNIGHT - DAY, MIDNIGHT)


async def test_a_meter_that_was_given_to_a_vehicle_on_days_whose_hours_are_gone(world: Asked, tmp_path: Path) -> None:
    """The vehicle becomes known last: only device_pair says that there is something of that day."""
    world.restart(configured(tmp_path, retention__hourly_days=2, ingest__past_max_days=2))
    await world.store(meter(NOON, 5, "OTHER"), meter(NOON + 5 * DAY, 1, "OTHER"))
    await world.pair("VEHICLE_1", "OTHER", NOON - HOUR, NOON + HOUR)
    await world.round(NOON + 5 * DAY + 3 * HOUR)
    await world.store(vehicle(NOON + 5 * DAY + 4 * HOUR, 1))
    await world.round(NOON + 5 * DAY + 6 * HOUR)
    await check(world, MIDNIGHT - DAY, MIDNIGHT)
    assert ("VEHICLE_1", MIDNIGHT - DAY, "OTHER") in await world.rows("pair_day")


async def test_a_pairing_that_needs_the_archive_lets_the_fleet_go_on(world: Asked) -> None:
    away = False

    async def readings(*given: Any, **order: Any) -> Any:
        if away:
            raise ArchiveUnavailableError("away")
        return await FakeArchive.readings(world.archive, *given, **order)

    await world.store(vehicle(NOON, 4), meter(NOON, 5), vehicle(NOON, 4, "VEHICLE_2"))
    await world.round(NOON + 15 * HOUR)
    await world.archive_day(NOON.date())
    world.duty._raw._archive = world.archive
    world.archive.readings = readings  # type: ignore[method-assign]
    away = True
    await world.store(vehicle(NOON + DAY, 4, "VEHICLE_3"), meter(NOON + DAY, 5, "METER_3"))
    await world.store(meter(NOON + DAY, 1, "VEHICLE_1"))
    with capture_logs() as logs:
        await world.round(NOON + DAY + 6 * HOUR)
        await world.round()
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["archive_unavailable"]
    assert world.duty.report()["rollup_archive_away"]
    assert await world.writer.fetchval("SELECT rolled_until FROM rollup_state") == NOON + DAY + 5 * HOUR
    assert (await world.rows("pair_hour"))[("VEHICLE_3", NOON + DAY, "METER_3")][2] == 1
    fed = "SELECT meter_id FROM pair_by_id WHERE vehicle_id = 'VEHICLE_1'"
    assert await world.writer.fetchval(fed) == "METER_1"
    away = False
    await world.round()
    assert not world.duty.report()["rollup_archive_away"]
    assert await world.writer.fetchval(fed) == "VEHICLE_1"
    await world.prove()


async def test_a_late_reading_of_a_new_meter_makes_its_pair_in_the_same_round(world: Asked) -> None:
    await world.store(vehicle(NOON, 4), meter(NOON, 5, "METER_2"), vehicle(NOON, 4, "VEHICLE_2"))
    await world.round(NOON + 3 * HOUR)
    await world.store(meter(NOON, 5))
    await world.round(NOON + 3 * HOUR + timedelta(minutes=1))
    rolled = await world.reader.row("fleet_rolled", NOON, NOON + HOUR, NOON + HOUR, NOON + HOUR)
    waiting = await world.reader.row("rollup_pending", NOON, NOON + HOUR)
    assert (rolled["correlated"], waiting["pending"]) == (2, 0)
    await world.prove()


async def test_what_a_new_meter_changes_is_pending_until_the_next_closing(
    world: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.analytics.kept.KEEP_MIN_S", 0.0)
    monkeypatch.setattr("hseie.analytics.kept.COST_FACTOR", 0.0)
    waiting = Waiting(world.reader, world.config)
    hours = Hours(NOON, NOON + HOUR)

    async def pending() -> int:
        return await waiting.of(await rolled(world.reader, settings_of(world.config)), hours)

    others = [vehicle(NOON, 4, f"VEHICLE_{number}") for number in range(2, 7)]
    await world.store(vehicle(NOON, 4), meter(NOON, 5), *others)
    await world.round(NOON + 3 * HOUR)
    assert await pending() == 0
    await world.store(meter(NOON + 3 * HOUR, 1, "VEHICLE_1"), meter(NOON + 3 * HOUR, 1, "METER_6"))
    await world.round()
    assert await world.writer.fetchval("SELECT count(*) FROM rollup_mark") == 0
    assert await pending() == 2
    await world.round(NOON + 4 * HOUR + timedelta(minutes=3))
    assert await pending() == 0
    await world.prove()


@pytest.mark.parametrize("prefixes", [("VEHICLE_", "METER_"), ("", ""), ("V", "VM"), ("VEHICLE_", ""), ("", "M")])
async def test_all_vehicles_are_compared_by_the_same_rule(world: Asked, prefixes: tuple[str, str]) -> None:
    """The statement that compares all of them at once says what the rule for one of them says."""
    chance = random.Random(f"{prefixes}")
    names = sorted(
        {a + b + c for a in ("", "VEHICLE_", "METER_", "V", "VM") for b in ("", "M", "METER_") for c in "12"}
    )
    found = {}
    for _ in range(20):
        await world.writer.execute("DELETE FROM meter_current; DELETE FROM vehicle_current; DELETE FROM pair_by_id")
        meters = chance.sample(names, 10)
        made = {name: chance.choice(["", *meters]) for name in chance.sample(names, 15)}
        for kind, some in (("meter", meters), ("vehicle", names)):
            ones = ", 1" * (2 if kind == "meter" else 3)
            await world.writer.executemany(
                f"INSERT INTO {kind}_current VALUES ($1, now(){ones})", [(name,) for name in some]
            )
        await world.writer.executemany("INSERT INTO pair_by_id VALUES ($1, $2)", list(made.items()))
        by_id = {name: next((m for m in candidates(name, *prefixes) if m in meters), "") for name in names}
        found = {row["vehicle_id"]: row for row in await world.reader.rows("pairing_otherwise", *prefixes, 1000)}
        assert {name: row["meter_id"] for name, row in found.items()} == {
            name: meter for name, meter in by_id.items() if made.get(name) != meter
        }
        assert {row["found"] for row in found.values()} == {len(found)}
    assert len(await world.reader.rows("pairing_otherwise", *prefixes, 2)) == 2


async def test_a_late_reading_of_a_new_vehicle_changes_its_whole_past(world: Asked) -> None:
    await world.store(meter(NOON, 5), meter(NOON + 2 * HOUR, 5))
    await world.round(NOON + 4 * HOUR)
    await world.store(vehicle(NOON + 2 * HOUR, 4))
    await world.round(NOON + 4 * HOUR + timedelta(minutes=1))
    await world.prove()
    assert ("VEHICLE_1", NOON, "METER_1") in await world.rows("pair_hour")


async def test_vehicles_are_compared_once_for_each_closing(world: Asked) -> None:
    """However many rounds it takes until all that is closed is rolled up."""
    checked = []
    check = world.duty._pairings.check

    async def noted(connection: Any) -> None:
        checked.append(connection)
        await check(connection)

    world.duty._pairings.check = noted  # type: ignore[method-assign]
    await world.store(vehicle(NOON, 4), meter(NOON, 5))
    await world.round(NOON + 3 * HOUR)
    checked.clear()
    for _ in range(3):
        await world.round()
    assert checked == []
    await world.round(NOON + 4 * HOUR)
    assert len(checked) == 1
