"""Partitions that are missing, made by several at once, taken away and given back, and midnight."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hseie import database
from tests.faults.scene import Scene
from tests.system.conftest import Stage
from tests.system.ledger import Reading, device_of, meter

SETTINGS = {
    "HSEIE_POSTGRES__LOCK_TIMEOUT_MS": "1000",
    "HSEIE_MAINTENANCE__PARTITIONS_AHEAD_DAYS": "1",
}
MAKE = "SELECT hseie_make_partition($1, $2)"
PARTITIONS = "SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text ~ '_history$'"
# What the writers say when a flush had to wait for an operator, a connection or a lock.
TROUBLE = ("flushing_stopped", "database_away", "flush_held_up")


@pytest.fixture(scope="module")
def clock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seconds by which the clock of the node is ahead."""
    return tmp_path_factory.mktemp("clock") / "offset"


@pytest.fixture(scope="module")
def scene(module_stage: Stage, new_database: Callable[[], str], clock_file: Path) -> Scene:
    environ = {**SETTINGS, "DATABASE_URL": new_database(), "HSEIE_CLOCK_FILE": str(clock_file)}
    return Scene(module_stage, module_stage.node(**environ).start())


def vehicle(device: str, time: str) -> Reading:
    return {"vehicleId": device, "soc": 50.0, "kwhDeliveredDc": 1.0, "batteryTemp": 20.0, "timestamp": time}


def wire_time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def send(scene: Scene, times: list[str]) -> None:
    """Readings of both kinds and both shards at each of the times, committed."""
    devices = [device_of(shard, 2, "days") for shard in (0, 1)]
    bodies = {
        "meter": [meter(device, time=time) for time in times for device in devices],
        "vehicle": [vehicle(device, time) for time in times for device in devices],
    }
    with ThreadPoolExecutor(2) as pool:
        posts = {kind: pool.submit(scene.node.post, kind, body, Prefer="wait") for kind, body in bodies.items()}
    for kind, readings in bodies.items():
        assert posts[kind].result().status == 201, posts[kind].result()
        scene.ledger.note(kind, readings)


def test_days_without_a_partition_that_both_writers_need_at_once(scene: Scene) -> None:
    before = scene.sql(PARTITIONS)[0][0]
    noon = datetime.now(UTC).replace(hour=12)
    days = [wire_time(noon - timedelta(days=days)) for days in range(20, 60)]
    # A reader that has not ended its transaction: nobody waits for it, and nobody behind somebody who does.
    with scene.load() as fleet, scene.somebody() as reader:
        reader.execute("SELECT count(*) FROM meter_history")
        reader.execute("SELECT count(*) FROM vehicle_history")
        began = time.monotonic()
        send(scene, days)
        print(f"{2 * len(days)} partitions made and filled in {time.monotonic() - began:.1f} s")
    assert set(fleet.statuses) <= {"202", "400"}
    assert scene.sql(PARTITIONS)[0][0] == before + 2 * len(days)
    assert {event: scene.said(event) for event in TROUBLE} == {event: [] for event in TROUBLE}
    scene.prove()


def test_partitions_made_taken_away_and_given_back_under_load(scene: Scene) -> None:
    stalls: dict[str, float] = {"reader": 0.0, "writer": 0.0}

    def watch(until: Callable[[], bool]) -> None:
        while not until():
            for who, ask in (
                ("writer", lambda: scene.probe(0, Prefer="wait").status == 201),
                ("reader", lambda: scene.node.get("/v1/analytics/stats").status == 200),
            ):
                began = time.monotonic()
                assert ask(), who
                stalls[who] = max(stalls[who], time.monotonic() - began)

    with scene.load() as fleet, ThreadPoolExecutor(1) as pool:
        working = pool.submit(asyncio.run, _rebuild(scene.dsn, rounds=6))
        watch(working.done)
        working.result()
    print(f"the longest waits: {stalls}")
    assert set(fleet.statuses) <= {"202", "400"}
    assert {event: scene.said(event) for event in TROUBLE} == {event: [] for event in TROUBLE}
    assert max(stalls.values()) < 20  # the lock_timeout is one second, and machines are shared
    scene.prove()


async def _rebuild(url: str, rounds: int) -> None:
    """Partitions of days to come: each is made by four sessions at once, detached in both ways, and dropped."""
    sessions = [await database.connect(url, "somebody else", 5, {"lock_timeout": "1000"}) for _ in range(4)]
    try:
        for number in range(rounds):
            day = (datetime.now(UTC) + timedelta(days=30 + number)).date()
            child = f"meter_history_{day:%Y_%m_%d}"
            done = await asyncio.gather(*(session.fetchval(MAKE, "meter", day) for session in sessions))
            assert sorted(done) == [False, False, False, True]
            concurrently = "" if number % 2 else " CONCURRENTLY"
            await _until_got(sessions[0], f"ALTER TABLE meter_history DETACH PARTITION {child}{concurrently}")
            await sessions[1].execute(f"DROP TABLE {child}")
    finally:
        for session in sessions:
            await database.close(session)


async def _until_got(session: Any, statement: str) -> None:
    """As an operator who must not stand in the way: with a lock_timeout, again and again."""
    for _ in range(60):
        try:
            await session.execute(statement)
        except database.PostgresError as error:
            assert database.classify(error) is database.Failure.RETRY, error
            if "CONCURRENTLY" in statement:
                statement = statement.replace("CONCURRENTLY", "FINALIZE")
        else:
            return
    raise AssertionError(f"never got the lock for {statement}")


def test_midnight_with_a_day_that_has_no_partition(scene: Scene, clock_file: Path) -> None:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=4)).replace(hour=0, minute=0, second=0, microsecond=0)
    tables = [f"{kind}_history_{midnight:%Y_%m_%d}" for kind in ("meter", "vehicle")]
    assert all(scene.sql("SELECT to_regclass($1) IS NULL", table)[0][0] for table in tables)
    evening = midnight - timedelta(seconds=2)
    clock_file.write_text(str((evening - now).total_seconds()))
    try:
        with scene.load(start=wire_time(evening)) as fleet:
            edge = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(microseconds=1)]
            send(scene, [wire_time(moment) for moment in edge])
            time.sleep(4)
    finally:
        clock_file.unlink()
    assert set(fleet.statuses) <= {"202", "400"}
    for table in tables:
        first, rows = scene.sql(f"SELECT min(timestamp), count(*) FROM {table}")[0]
        assert first == midnight
        assert rows > 100  # the fleet went on past midnight
    assert {event: scene.said(event) for event in TROUBLE} == {event: [] for event in TROUBLE}
    assert scene.said("process_ended") == []
    scene.prove()
