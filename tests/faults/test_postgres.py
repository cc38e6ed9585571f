"""PostgreSQL goes, refuses, or stands still, each time in the middle of something."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from hseie import database, migrations
from hseie.embedded.server import EmbeddedPostgres
from tests.faults.scene import LONG, ORDERLY, Scene
from tests.system.conftest import Stage
from tests.system.ledger import device_of, meter, now_text
from tests.system.node import Answer, eventually

SETTINGS = {
    "HSEIE_POSTGRES__FLUSH_TIMEOUT_MS": "3000",
    "HSEIE_POSTGRES__LOCK_TIMEOUT_MS": "1000",
}
CONNECTIONS_MAX = 30

# A row that COPY takes its time with, as long as a row in `slow` says so: the backend is inside the COPY for sure, and
# reads no more of it.
SLOW_ROW = (
    "CREATE TABLE slow (seconds double precision)",
    """CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(seconds) FROM slow; RETURN NEW; END $$""",
    """CREATE TRIGGER slow_row BEFORE INSERT ON meter_history FOR EACH ROW WHEN (NEW.voltage = 77.77)
    EXECUTE FUNCTION be_slow()""",
)
IN_COPY = "SELECT pid FROM pg_stat_activity WHERE query ~ '^COPY.*meter_history' AND wait_event = 'PgSleep'"
WRITERS_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^hseie writer'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that may be stopped; its database `hseie` is the template of the others."""
    folder = tmp_path_factory.mktemp("server")
    server = EmbeddedPostgres(folder / "postgres", settings={"max_connections": str(CONNECTIONS_MAX)})
    asyncio.run(database.with_connection(server.start(), "fault tests", migrations.migrate))
    yield server
    server.stop()


def new_database(server: EmbeddedPostgres, name: str) -> str:
    url = server.url()
    assert url is not None
    maintenance = urlunsplit(urlsplit(url)._replace(path="/postgres"))

    async def create(connection: Any) -> None:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE hseie")

    asyncio.run(database.with_connection(maintenance, "fault tests", create))
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="module")
def scene(module_stage: Stage, server: EmbeddedPostgres) -> Scene:
    node = module_stage.node(DATABASE_URL=new_database(server, "faults"), **SETTINGS).start()
    scene = Scene(module_stage, node)
    for statement in SLOW_ROW:
        scene.sql(statement)
    return scene


@contextmanager
def away(server: EmbeddedPostgres) -> Iterator[None]:
    """While it lasts, the server is stopped."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@LONG
def test_a_server_away_under_the_nominal_load(scene: Scene, server: EmbeddedPostgres, minutes: float) -> None:
    # 333 readings/s: the nominal fleet at its cadence, or a twentieth of it at twenty times that.
    devices, interval_ms = (10_000, 60_000) if minutes else (500, 3_000)
    with scene.load(devices=devices, interval_ms=interval_ms, **ORDERLY) as fleet:
        time.sleep(1.5 * interval_ms / 1000 if minutes else 1)
        before = _memory_mb(scene)
        with away(server):
            until = time.monotonic() + (minutes * 60 or 5)
            while time.monotonic() < until:
                assert scene.probe(0).status == scene.probe(1).status == 202
                print(f"waiting {scene.waiting()}, memory {_memory_mb(scene)}")
                time.sleep(30 if minutes else 2)
        began = time.monotonic()
        aims = [scene.writer(shard)["journal_seq"] for shard in (0, 1)]
        eventually(
            lambda: all(scene.writer(shard)["committed_seq"] >= aims[shard] for shard in (0, 1)), "caught up", 60
        )
        after = _memory_mb(scene)
        print(f"caught up after {time.monotonic() - began:.1f} s, memory {after}")
    assert set(fleet.statuses) == {"202"}  # nobody noticed
    assert (fleet.summary["failed"], fleet.summary["retried"]) == (0, 0)
    # What waits is kept in memory up to a limit, and lines are remembered; nobody else has a reason to grow.
    allowed = {name: 64 + fleet.summary["readings"] / 1000 if "writer" in name else 40 for name in before}
    assert {name: mb for name, mb in after.items() if mb > before[name] + allowed[name]} == {}
    scene.prove()
    assert [scene.out_of_order(kind) for kind in ("meter", "vehicle")] == [0, 0]


def _memory_mb(scene: Scene) -> dict[str, int]:
    return {name: row["rss_bytes"] // 1_000_000 for name, row in scene.processes().items()}


# --- in the middle of a COPY ------------------------------------------------------------------------------------------


@contextmanager
def large_copy(scene: Scene, seconds: float) -> Iterator[int]:
    """Inside the COPY of four megabytes, which stands still at its first row; gives the backend's pid.

    More than asyncpg and the sockets between take in: the writer's side waits in the middle of it too.
    """
    node = scene.node
    scene.sql("DELETE FROM slow")
    scene.sql("INSERT INTO slow VALUES ($1)", seconds)
    device = device_of(0, 2, "large" + "-" * 40)
    batches = [
        [meter(device, number, time=now_text(number / 100 + 200 * batch), volts=231.5) for number in range(10_000)]
        for batch in range(4)
    ]
    batches[0][0]["voltage"] = 77.77
    with scene.somebody() as other:
        other.execute("LOCK TABLE meter_history IN ACCESS EXCLUSIVE MODE")  # so that all of it is flushed at once
        for batch in batches:
            scene.note(batch, node.deliver("meter", batch)[0])
    pid = eventually(lambda: scene.sql(IN_COPY), "a COPY is under way")[0][0]
    scene.sql("DELETE FROM slow")  # the next attempt is not slow
    yield pid


def test_a_backend_terminated_in_the_middle_of_a_large_copy(scene: Scene) -> None:
    with scene.load() as fleet:
        with large_copy(scene, 60) as backend:
            scene.sql("SELECT pg_terminate_backend($1)", backend)
        scene.until_flushed()
    assert "202" in fleet.statuses
    scene.prove()


def test_a_server_restarted_at_once_in_the_middle_of_a_large_copy(scene: Scene, server: EmbeddedPostgres) -> None:
    with scene.load() as fleet:
        with large_copy(scene, 60):
            assert server.pid is not None
            os.kill(server.pid, signal.SIGQUIT)  # as `pg_ctl restart -m immediate`
            with away(server):
                assert scene.probe(0).status == 202
        scene.until_flushed()
    assert "503" not in fleet.statuses
    scene.prove()


def test_a_backend_that_stands_still_for_longer_than_a_flush_may_take(scene: Scene) -> None:
    with scene.load() as fleet:
        with large_copy(scene, 5) as backend:
            os.kill(backend, signal.SIGSTOP)
            try:
                eventually(lambda: scene.writer()["database"] != "ok", "the writer has given it up")
                assert scene.probe(0).status == 202
                assert scene.probe(1, Prefer="wait").status == 201  # the other shard does not wait for it
                time.sleep(2)
                assert scene.sql("SELECT pid FROM pg_stat_activity WHERE pid = $1", backend)  # it still holds its locks
            finally:
                os.kill(backend, signal.SIGCONT)
        scene.until_flushed()
    assert "503" not in fleet.statuses
    scene.prove()


# --- it is there and refuses ------------------------------------------------------------------------------------------


def test_a_server_that_has_become_read_only(scene: Scene) -> None:
    node = scene.node
    with scene.load() as fleet:
        scene.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        scene.sql("SELECT pg_reload_conf()")
        try:
            scene.until_database("away")
            assert node.status()["ready"] is False
            assert scene.probe(0).status == 202
        finally:
            scene.sql("ALTER SYSTEM RESET default_transaction_read_only")
            scene.sql("SELECT pg_reload_conf()")
        scene.until_flushed()
    assert set(fleet.statuses) <= {"202", "400"}
    assert scene.said("flushing_stopped") == []  # nothing for an operator
    scene.prove()


async def test_a_server_without_a_free_connection(scene: Scene) -> None:
    _node, url = scene.node, scene.dsn
    taken: list[Any] = []

    async def take_all() -> None:
        try:
            while len(taken) < 2 * CONNECTIONS_MAX:
                taken.append(await database.connect(url, "somebody else", 5))
        except database.DATABASE_ERRORS:
            pass

    def run() -> None:
        with scene.load() as fleet:
            asyncio.run_coroutine_threadsafe(until_none_is_left(), loop).result(60)
            assert scene.probe(0).status == scene.probe(1).status == 202
            asyncio.run_coroutine_threadsafe(give_back(), loop).result(60)
            scene.until_flushed()
        assert set(fleet.statuses) <= {"202", "400"}
        scene.prove()

    async def until_none_is_left() -> None:
        await take_all()
        for _ in range(100):
            await taken[0].fetch(WRITERS_CUT)
            await take_all()
            await asyncio.sleep(0.2)
            rows = await asyncio.to_thread(scene.processes)
            if all(rows[f"writer-{shard}"]["stats"]["database"] == "away" for shard in (0, 1)):
                return
        raise AssertionError("the writers have kept their connections")

    async def give_back() -> None:
        for connection in taken:
            await database.close(connection)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(run)


# --- for too long -----------------------------------------------------------------------------------------------------


def test_a_server_away_until_a_journal_is_full(stage: Stage, server: EmbeddedPostgres) -> None:
    limits = {"HSEIE_HTTP__BODY_BYTES_MAX": "65536", "HSEIE_WRITER__JOURNAL_BYTES_MAX": "1048576"}
    scene = Scene(stage, stage.node(DATABASE_URL=new_database(server, "small"), **SETTINGS, **limits).start())
    node = scene.node
    device = device_of(0, 2, "many" + "-" * 40)
    numbers = itertools.count()

    def send() -> Answer:
        batch = [meter(device, number, time=now_text(number / 1000)) for number in itertools.islice(numbers, 400)]
        answer = node.post("meter", batch)
        scene.note(batch, answer)
        return answer

    with away(server):
        full = eventually(lambda: None if (answer := send()).status == 202 else answer, "the journal is full")
        assert (full.status, full.body["code"]) == (503, "journal_full"), full
        assert 30 <= int(full.headers["Retry-After"]) <= 60  # nothing drains, so nobody knows
        assert scene.probe(1).status == 202  # the other journal has room
        time.sleep(1)  # figures come with heartbeats
        assert scene.writer()["journal_bytes"] < 1_048_576 + 2 * 65_536
        assert any("journal is full" in problem["text"] for problem in node.status()["problems"])
    eventually(lambda: send().status == 202, "there is room again", 30)
    scene.prove()
