"""From journal to PostgreSQL, with a real one: exactly once, the newest wins, bad lines apart, owners kept apart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from hseie import database
from hseie.config import Config
from hseie.config_load import load
from hseie.errors import FencedError
from hseie.frames import Frame, Part
from hseie.readings import KINDS
from hseie.writer.batch import Batch, split_lines
from hseie.writer.committer import Committer
from hseie.writer.flush import Ownership, flush, prepare
from hseie.writer.journal import Entry, Journal
from hseie.writer.pace import seconds_until_due
from hseie.writer.pending import Pending

DAY = "2026-11-20"


def meter(device: str, second: int, kwh: float = 1.0, day: str = DAY) -> str:
    return f"{device}\t{day}T12:00:{second:02d}\t{kwh:.4f}\t230.00\n"


class Shard:
    """One journal with what flushes it, without sockets."""

    def __init__(self, path: Path, url: str, **settings: str) -> None:
        self.path = path
        self.url = url
        self.config: Config = load(None, {f"HSEIE_{key}": value for key, value in settings.items()}).config

    async def open(self) -> "Shard":
        self.journal = await Journal.open(self.path, 0, 1)
        self.pending = Pending(self.journal, self.config.writer.pending_bytes_max)
        await self.pending.restart_after(self.journal.oldest_seq - 1)
        self.committed: list[int] = []
        self.committer = Committer(
            self.journal, self.pending, self.config, self.url, structlog.get_logger(), self.committed.append
        )
        return self

    async def receive(self, *lines: str, kind: int = 0, duplicates: list[int] | None = None) -> int:
        """Journal one frame as the intake does; return its sequence."""
        part = Part(kind, len(lines), "".join(lines).encode())
        body = Frame(1, 1, False, (part,)).encode()
        marked = {kind: duplicates} if duplicates else {}
        seq = await self.journal.append([Entry(body, {kind: len(lines)}, marked)])
        self.pending.add(seq, [(part, split_lines(part.rows))], marked)
        self.committer.arrived(urgent=True)
        return seq

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        task = asyncio.ensure_future(self.committer.run())
        try:
            yield task
        finally:
            self.committer.drain()
            await asyncio.wait({task}, timeout=20)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                raise AssertionError("the committer did not drain")

    async def until_committed(self, seq: int) -> None:
        async with asyncio.timeout(20):
            while self.committer.committed_seq < seq:
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.writer.committer._OPERATOR_PAUSE_S", 0.2)


@pytest.fixture
async def shard(tmp_path: Path, database_url: str) -> AsyncIterator[Shard]:
    shard = await Shard(tmp_path / "journal.sqlite", database_url).open()
    yield shard
    await shard.journal.close()


async def query(url: str, sql: str, *arguments: Any) -> list[Any]:
    async def work(connection: Any) -> list[Any]:
        return [tuple(row.values()) for row in await connection.fetch(sql, *arguments)]

    return await database.with_connection(url, "test", work)


async def stored(url: str) -> list[tuple[str, str, float]]:
    """(device, time, kWh) of every row of meter_history, in order of arrival."""
    rows = await query(url, "SELECT meter_id, timestamp, kwh_consumed_ac FROM meter_history ORDER BY id")
    return [(device, f"{time:%H:%M:%S}", float(kwh)) for device, time, kwh in rows]


async def books(url: str) -> list[Any]:
    sql = "SELECT received, stored, duplicates, dead_lettered FROM shard_book WHERE kind = 'meter'"
    return await query(url, sql)


async def test_frames_are_stored_once_with_their_states_and_books(shard: Shard) -> None:
    async with shard.running():
        await shard.receive(meter("A", 1), meter("B", 2), meter("A", 1), duplicates=[2])
        await shard.until_committed(await shard.receive(meter("A", 3, 2.5)))
    assert await stored(shard.url) == [("A", "12:00:01", 1.0), ("B", "12:00:02", 1.0), ("A", "12:00:03", 2.5)]
    current = await query(shard.url, "SELECT meter_id, kwh_consumed_ac::float FROM meter_current ORDER BY 1")
    assert current == [("A", 2.5), ("B", 1.0)]
    assert await books(shard.url) == [(4, 3, 1, 0)]
    assert shard.committed[-1] == shard.journal.last_seq
    assert shard.pending.waiting == [0 for _ in KINDS]


async def test_a_partition_is_made_when_readings_need_it(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(
            await shard.receive(meter("A", 1, day="2026-02-09"), meter("A", 1, day="2025-12-31"))
        )
    sql = "SELECT relname FROM pg_class WHERE relname ~ '^meter_history_[0-9_]+$' ORDER BY 1"
    assert await query(shard.url, sql) == [("meter_history_2025_12_31",), ("meter_history_2026_02_09",)]


async def test_a_partition_that_another_writer_has_just_made_is_no_mistake(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flush_while_another_makes_it(connection: Any, *arguments: Any) -> None:
        try:
            await flush(connection, *arguments)
        except database.PostgresError:
            await query(shard.url, "SELECT hseie_make_partition('meter', '2026-02-09')")
            raise

    monkeypatch.setattr("hseie.writer.committer.flush", flush_while_another_makes_it)
    monkeypatch.setattr(Committer, "_pause", None)  # no operator is asked
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1, day="2026-02-09")))
    assert await query(shard.url, "SELECT count(*) FROM meter_history") == [(1,)]


async def test_a_late_reading_does_not_overwrite_and_a_correction_does(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 30, 3.0)))
        await shard.until_committed(await shard.receive(meter("A", 10, 1.0)))
        assert await query(shard.url, "SELECT kwh_consumed_ac::float FROM meter_current") == [(3.0,)]
        await shard.until_committed(await shard.receive(meter("A", 30, 3.5)))
    assert await query(shard.url, "SELECT kwh_consumed_ac::float FROM meter_current") == [(3.5,)]


async def test_the_guard_in_the_database_holds_without_the_map(shard: Shard, tmp_path: Path) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 30, 3.0)))
    await shard.journal.close()
    again = await shard.open()  # a new life knows no states
    async with again.running():
        await again.until_committed(await again.receive(meter("A", 10, 1.0)))
    assert await query(shard.url, "SELECT kwh_consumed_ac::float FROM meter_current") == [(3.0,)]


async def test_what_was_journaled_before_a_crash_is_stored_after_it(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
    await shard.receive(meter("A", 2))
    last = await shard.receive(meter("A", 3))
    await shard.journal.close()  # nothing of the last two frames was flushed
    again = await shard.open()
    async with again.running():
        await again.until_committed(last)
    assert [time for _, time, _ in await stored(shard.url)] == ["12:00:01", "12:00:02", "12:00:03"]
    assert await books(shard.url) == [(3, 3, 0, 0)]


async def test_more_than_memory_may_hold_waits_in_the_journal_and_keeps_its_order(
    tmp_path: Path, database_url: str
) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, WRITER__PENDING_BYTES_MAX="2000").open()
    seq = 0
    for number in range(300):  # PostgreSQL is not asked yet, so all of this is backlog
        seq = await shard.receive(meter(f"M{number % 7}", number % 60, number))
    assert shard.pending.behind
    assert shard.pending.waiting[0] == 300
    async with shard.running():
        for number in range(300, 400):
            seq = await shard.receive(meter(f"M{number % 7}", number % 60, number))
        await shard.until_committed(seq)
        assert shard.pending.waiting == [0, 0]
    assert [kwh for _, _, kwh in await stored(database_url)] == [float(number) for number in range(400)]
    await shard.journal.close()


async def test_a_line_that_postgresql_refuses_is_parked_and_the_others_stored(shard: Shard) -> None:
    await query(shard.url, "ALTER TABLE meter_history ADD CHECK (kwh_consumed_ac <> 13)")
    async with shard.running():
        lines = [meter(f"M{number}", 1, number) for number in range(100)]
        await shard.until_committed(await shard.receive(*lines))
    assert len(await stored(shard.url)) == 99
    parked = await query(shard.url, "SELECT kind, original, sqlstate FROM dead_letter")
    assert parked == [("meter", lines[13].rstrip("\n"), "23514")]
    assert await books(shard.url) == [(100, 99, 0, 1)]
    assert await query(shard.url, "SELECT count(*) FROM meter_current WHERE meter_id = 'M13'") == [(0,)]


async def test_a_refused_newest_line_leaves_the_state_to_the_one_before(shard: Shard) -> None:
    await query(shard.url, "ALTER TABLE meter_history ADD CHECK (kwh_consumed_ac <> 13)")
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1, 12), meter("A", 9, 13)))
        assert await query(shard.url, "SELECT kwh_consumed_ac::float FROM meter_current") == [(12.0,)]
        # Nor does the parked line keep out what is older than itself and newer than what is stored.
        await shard.until_committed(await shard.receive(meter("A", 5, 14)))
    assert await query(shard.url, "SELECT kwh_consumed_ac::float FROM meter_current") == [(14.0,)]


async def test_too_many_refusals_stop_the_flushing_and_lose_nothing(tmp_path: Path, database_url: str) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, WRITER__DEAD_LETTERS_MAX="5").open()
    await query(database_url, "ALTER TABLE meter_history ADD CONSTRAINT wrong CHECK (kwh_consumed_ac < 0)")
    task = asyncio.ensure_future(shard.committer.run())
    seq = await shard.receive(*[meter(f"M{number}", 1) for number in range(50)])
    async with asyncio.timeout(20):
        while shard.committer.database != "refusing":
            await asyncio.sleep(0.01)
    assert await query(database_url, "SELECT count(*) FROM dead_letter") == [(0,)]
    await query(database_url, "ALTER TABLE meter_history DROP CONSTRAINT wrong")
    await shard.until_committed(seq)
    assert len(await stored(database_url)) == 50
    shard.committer.drain()
    await task
    await shard.journal.close()


async def test_a_second_owner_fences_the_first(shard: Shard) -> None:
    first = asyncio.ensure_future(shard.committer.run())
    await shard.until_committed(await shard.receive(meter("A", 1)))
    second = await Shard(shard.path, shard.url).open()  # the same journal, opened by another process
    async with second.running():
        async with asyncio.timeout(20):
            while second.committer.epoch < 2:
                await asyncio.sleep(0.01)
    await second.journal.close()
    await shard.receive(meter("A", 2))
    with pytest.raises(FencedError, match="another writer owns journal"):
        await asyncio.wait_for(first, 20)
    assert len(await stored(shard.url)) == 1


async def test_an_older_copy_of_a_journal_is_refused(shard: Shard, tmp_path: Path) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        await shard.journal.close()
        (tmp_path / "copy.sqlite").write_bytes(shard.path.read_bytes())
        shard.journal = await Journal.open(shard.path, 0, 1)
    again = await Shard(shard.path, shard.url).open()
    async with again.running():
        await again.until_committed(await again.receive(meter("A", 2)))
    await again.journal.close()
    copy = await Shard(tmp_path / "copy.sqlite", shard.url).open()
    with pytest.raises(FencedError, match="older copy"):
        await copy.committer.run()
    await copy.journal.close()


class _CommitThenBreak:
    """Lets a flush commit and then says that the connection broke: what a lost answer to COMMIT looks like."""

    def __init__(self) -> None:
        self.times = 1

    async def __call__(self, connection: Any, *arguments: Any) -> None:
        await flush(connection, *arguments)
        if self.times:
            self.times -= 1
            raise ConnectionResetError("the answer to COMMIT was lost")


async def test_a_commit_of_unknown_outcome_is_not_repeated(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _CommitThenBreak()
    monkeypatch.setattr("hseie.writer.committer.flush", broken)
    async with shard.running():
        await shard.receive(meter("A", 1))
        await shard.until_committed(await shard.receive(meter("A", 2)))
    assert broken.times == 0
    assert [time for _, time, _ in await stored(shard.url)] == ["12:00:01", "12:00:02"]
    assert await books(shard.url) == [(2, 2, 0, 0)]


async def test_a_backend_that_is_terminated_again_and_again_loses_and_doubles_nothing(shard: Shard) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hseie writer 0'"
    expected = 0
    async with shard.running():
        for _ in range(12):
            for _ in range(10):
                lines = [meter(f"M{number}", number % 60, number) for number in range(200)]
                seq = await shard.receive(*lines)
                expected += 200
            await query(shard.url, kill)
        await shard.until_committed(seq)
    assert len(await stored(shard.url)) == expected
    assert await books(shard.url) == [(expected, expected, 0, 0)]


async def test_a_flush_that_hangs_is_cut_and_tried_again(tmp_path: Path, database_url: str) -> None:
    settings = {"POSTGRES__FLUSH_TIMEOUT_MS": "500", "POSTGRES__LOCK_TIMEOUT_MS": "60000"}
    shard = await Shard(tmp_path / "j.sqlite", database_url, **settings).open()
    locker = await database.connect(database_url, "locker", 5)
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        transaction = locker.transaction()
        await transaction.start()
        await locker.execute("LOCK TABLE meter_history IN ACCESS EXCLUSIVE MODE")
        seq = await shard.receive(meter("A", 2))
        async with asyncio.timeout(20):
            while shard.committer.database == "ok":
                await asyncio.sleep(0.01)
        await transaction.rollback()
        await shard.until_committed(seq)
    await database.close(locker)
    assert len(await stored(database_url)) == 2
    await shard.journal.close()


async def test_missing_tables_stop_the_flushing_until_they_are_there(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        await query(shard.url, "ALTER TABLE meter_current RENAME TO away")
        seq = await shard.receive(meter("A", 2))
        async with asyncio.timeout(20):
            while shard.committer.database != "schema":
                await asyncio.sleep(0.01)
        await query(shard.url, "ALTER TABLE away RENAME TO meter_current")
        await shard.until_committed(seq)
    assert len(await stored(shard.url)) == 2


async def test_without_postgresql_draining_ends_at_once(tmp_path: Path) -> None:
    shard = await Shard(tmp_path / "j.sqlite", "postgresql://nobody@127.0.0.1:1/none").open()
    async with shard.running():
        await shard.receive(meter("A", 1))
        await asyncio.sleep(0.3)
        assert shard.committer.database == "away"
    await shard.journal.close()


@pytest.mark.parametrize(
    ("readings", "urgent", "since_s", "expected"),
    [
        (0, False, 100.0, None),
        (0, True, 100.0, None),
        (1, False, 0.0, 0.25),
        (1, False, 0.2, pytest.approx(0.05)),
        (1, False, 0.3, 0.0),
        (1, True, 0.0, 0.0),
        (1000, False, 0.0, 0.0),
    ],
)
def test_when_a_flush_is_due(readings: int, urgent: bool, since_s: float, expected: float | None) -> None:
    assert seconds_until_due(50.0 + since_s, 50.0, readings, urgent, 0.25, 1000) == expected


async def test_a_copy_that_was_flushed_meanwhile_fences_the_original(shard: Shard, tmp_path: Path) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
    await shard.journal.close()
    (tmp_path / "copy.sqlite").write_bytes(shard.path.read_bytes())
    original = await Shard(shard.path, "postgresql://nobody@127.0.0.1:1/none").open()
    for second in (2, 3, 4):
        await original.receive(meter("A", second, 100))
    await original.journal.close()
    copy = await Shard(tmp_path / "copy.sqlite", shard.url).open()
    async with copy.running():
        await copy.until_committed(await copy.receive(meter("A", 2, 200)))
    await copy.journal.close()
    original = await Shard(shard.path, shard.url).open()
    with pytest.raises(FencedError, match="another copy"):
        await asyncio.wait_for(original.committer.run(), 20)
    await original.journal.close()
    assert [kwh for _, _, kwh in await stored(shard.url)] == [1.0, 200.0]  # and nothing of it was skipped silently
    shard.journal = await Journal.open(shard.path, 0, 1)


async def test_a_copy_that_grew_before_it_could_claim_is_told_by_its_frames(shard: Shard, tmp_path: Path) -> None:
    """As a machine brought back from a snapshot that took readings before PostgreSQL was up, then started again."""
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        (tmp_path / "copy.sqlite").write_bytes(shard.path.read_bytes())
        (tmp_path / "copy.sqlite-wal").write_bytes(Path(f"{shard.path}-wal").read_bytes())
        await shard.until_committed(await shard.receive(meter("A", 2)))  # its token is known to the copy
    copy = await Shard(tmp_path / "copy.sqlite", "postgresql://nobody@127.0.0.1:1/none").open()
    for second in (3, 4, 5):
        await copy.receive(meter("A", second))
    await copy.journal.close()
    copy = await Shard(tmp_path / "copy.sqlite", shard.url).open()
    with pytest.raises(FencedError, match="another copy of it was flushed"):
        await asyncio.wait_for(copy.committer.run(), 20)
    await copy.journal.close()
    assert [time for _, time, _ in await stored(shard.url)] == ["12:00:01", "12:00:02"]


async def test_lives_that_only_claim_do_not_fence_their_own_journal(shard: Shard, tmp_path: Path) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
    for _ in range(3):  # lives that claim and end before they flush anything
        await shard.journal.close()
        await shard.open()
        async with shard.running():
            async with asyncio.timeout(20):
                while shard.committer.epoch == 0:
                    await asyncio.sleep(0.01)
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 2)))
        assert shard.committer.epoch == 4  # the first life and three more; a new connection is no new life


async def test_commits_that_postgresql_lost_are_made_again(shard: Shard) -> None:
    """As after a failover to a server that had not got the last commits."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hseie writer 0'"
    async with shard.running():
        first = await shard.receive(meter("A", 1))
        await shard.until_committed(first)
        await shard.until_committed(await shard.receive(meter("A", 2)))
        await query(shard.url, "DELETE FROM meter_history WHERE date_part('second', timestamp) = 2")
        await query(shard.url, "UPDATE shard_checkpoint SET last_seq = $1, last_crc = NULL", first)
        await query(shard.url, kill)
        await shard.until_committed(await shard.receive(meter("A", 3)))
    assert [time for _, time, _ in await stored(shard.url)] == ["12:00:01", "12:00:02", "12:00:03"]


async def test_a_mistake_in_the_schema_does_not_flood_the_dead_letters(shard: Shard) -> None:
    await query(shard.url, "ALTER TABLE meter_history ADD CONSTRAINT wrong CHECK (kwh_consumed_ac < 0)")
    task = asyncio.ensure_future(shard.committer.run())
    for _ in range(5):
        seq = await shard.receive(*[meter(f"M{number}", 1) for number in range(40)])
        await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        while shard.committer.database != "refusing":
            await asyncio.sleep(0.01)
    assert await query(shard.url, "SELECT count(*) FROM dead_letter") == [(0,)]
    await query(shard.url, "ALTER TABLE meter_history DROP CONSTRAINT wrong")
    await shard.until_committed(seq)
    shard.committer.drain()
    await task


async def test_single_refusals_are_limited_over_many_flushes(tmp_path: Path, database_url: str) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, WRITER__DEAD_LETTERS_MAX="3").open()
    await query(database_url, "ALTER TABLE meter_history ADD CONSTRAINT wrong CHECK (kwh_consumed_ac <> 13)")
    async with shard.running():
        for number in range(3):
            await shard.until_committed(await shard.receive(meter("A", number), meter("B", number, 13)))
        await shard.receive(meter("A", 10), meter("B", 10, 13))
        async with asyncio.timeout(20):
            while shard.committer.database != "refusing":
                await asyncio.sleep(0.01)
        assert await query(database_url, "SELECT count(*) FROM dead_letter") == [(3,)]
    await shard.journal.close()


async def test_a_connection_that_falls_silent_while_it_is_made_is_given_up(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, POSTGRES__FLUSH_TIMEOUT_MS="500").open()
    silent = 2

    async def prepare_in_silence(connection: Any) -> None:
        nonlocal silent
        silent -= 1
        if silent >= 0:
            await asyncio.sleep(3600)
        await prepare(connection)

    monkeypatch.setattr("hseie.writer.committer.prepare", prepare_in_silence)
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
    assert silent < 0
    await shard.journal.close()


async def test_a_batch_too_large_for_a_slow_server_is_tried_in_smaller_ones(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, POSTGRES__FLUSH_TIMEOUT_MS="300").open()
    monkeypatch.setattr("hseie.writer.pending._READ_BYTES_MAX", 40_000)
    shard.pending._read_bytes = 40_000
    sizes = []

    async def flush_slowly(connection: Any, batch: Any, *arguments: Any) -> None:
        sizes.append(batch.readings)
        if batch.readings > 100:
            await asyncio.sleep(3600)
        await flush(connection, batch, *arguments)

    monkeypatch.setattr("hseie.writer.committer.flush", flush_slowly)
    for number in range(30):
        seq = await shard.receive(*[meter(f"M{number}-{line}", 1) for line in range(20)])
    async with shard.running():
        await shard.until_committed(seq)
    assert max(sizes) > 100
    assert len(await stored(database_url)) == 600
    await shard.journal.close()


async def test_a_commit_that_was_made_but_took_too_long_is_not_repeated(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, POSTGRES__FLUSH_TIMEOUT_MS="500").open()
    answers_lost = 1

    async def flush_and_fall_silent(connection: Any, *arguments: Any) -> None:
        nonlocal answers_lost
        await flush(connection, *arguments)
        if answers_lost:
            answers_lost -= 1
            await asyncio.sleep(3600)

    monkeypatch.setattr("hseie.writer.committer.flush", flush_and_fall_silent)
    async with shard.running():
        await shard.receive(meter("A", 1))
        await shard.until_committed(await shard.receive(meter("A", 2)))
        await shard.until_committed(await shard.receive(meter("A", 3)))
    assert answers_lost == 0
    assert [time for _, time, _ in await stored(database_url)] == ["12:00:01", "12:00:02", "12:00:03"]
    assert await books(database_url) == [(3, 3, 0, 0)]
    await shard.journal.close()


async def test_a_day_that_is_there_but_not_attached_is_for_an_operator(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        await query(shard.url, "ALTER TABLE meter_history DETACH PARTITION meter_history_2026_11_20")
        seq = await shard.receive(meter("A", 2))
        async with asyncio.timeout(20):
            while shard.committer.database != "schema":
                await asyncio.sleep(0.01)
        attach = "ATTACH PARTITION meter_history_2026_11_20 FOR VALUES FROM ('2026-11-20Z') TO ('2026-11-21Z')"
        await query(shard.url, f"ALTER TABLE meter_history {attach}")
        await shard.until_committed(seq)
    assert len(await stored(shard.url)) == 2


async def test_current_never_lags_behind_history_while_catching_up(tmp_path: Path, database_url: str) -> None:
    lags = """
        SELECT count(*) FROM (SELECT meter_id, max(timestamp) AS newest FROM meter_history GROUP BY 1) AS history
        LEFT JOIN meter_current AS current USING (meter_id)
        WHERE current.timestamp IS DISTINCT FROM history.newest
    """
    shard = await Shard(tmp_path / "j.sqlite", database_url, WRITER__PENDING_BYTES_MAX="3000").open()
    shard.pending._read_bytes = 1000
    async with shard.running():
        for number in range(200):
            seq = await shard.receive(meter(f"M{number % 5}", number % 60, number))
            if number % 20 == 0:
                assert await query(database_url, lags) == [(0,)]
        await shard.until_committed(seq)
        assert await query(database_url, lags) == [(0,)]
    await shard.journal.close()


async def test_late_readings_alone_are_stored_and_change_no_state(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 30)))
        await shard.until_committed(await shard.receive(meter("A", 10), meter("A", 11)))
    assert len(await stored(shard.url)) == 3
    assert sum(shard.committer.tally.dead_lettered) == 0


async def test_a_commit_is_synced_whatever_the_server_prefers(shard: Shard) -> None:
    name = shard.url.rsplit("/", 1)[1]
    await query(shard.url, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    assert await query(shard.url, "SHOW synchronous_commit") == [("on",)]


async def test_a_wrong_previous_sequence_is_fenced(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
    connection = await database.connect(shard.url, "test", 5)
    [(journal_id, epoch, last_seq)] = await query(shard.url, "SELECT journal_id, epoch, last_seq FROM shard_checkpoint")
    batch = Batch()
    batch.last_seq = last_seq + 5
    with pytest.raises(FencedError):
        await flush(connection, batch, Ownership(journal_id, epoch), last_seq - 1)
    await flush(connection, batch, Ownership(journal_id, epoch), last_seq)
    await database.close(connection)
