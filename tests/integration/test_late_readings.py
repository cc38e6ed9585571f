"""What is stored of a closed hour is marked, whatever comes in between: the side of those who store.

Maintenance's side is played here by `closing`: closed_until rises in a transaction that holds the lock alone.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from hseie import database, dead_letters, failpoints
from hseie.archive import Archive
from hseie.frames import Part
from hseie.writer.batch import Batch, split_lines
from hseie.writer.flush import Ownership, flush, prepare
from tests.integration.test_writer_commit import DAY, Shard, meter, query, stored

LOCK_ALONE = "SELECT pg_advisory_xact_lock(hseie_rollup_lock())"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
NO_ARCHIVE = Archive(Path("nowhere"), 64)
RULE = "ALTER TABLE meter_history ADD CONSTRAINT mine CHECK (kwh_consumed_ac <> 13)"
RULE_AWAY = "ALTER TABLE meter_history DROP CONSTRAINT mine"
MARK = ("meter", "A", "20T12:00:00")


@pytest.fixture
async def shard(tmp_path: Path, database_url: str) -> AsyncIterator[Shard]:
    shard = await Shard(tmp_path / "journal.sqlite", database_url, POSTGRES__LOCK_TIMEOUT_MS="60000").open()
    yield shard
    await shard.journal.close()


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Any]:
    connection = await database.connect(database_url, "tests", 5)
    yield connection
    await database.close(connection)


@contextlib.asynccontextmanager
async def closing(connection: Any, hour: str) -> AsyncIterator[None]:
    """Close all hours before `hour`, committed at the end of the block."""
    async with connection.transaction():
        await connection.execute(LOCK_ALONE)
        await connection.execute("UPDATE rollup_state SET closed_until = $1::text::timestamptz", f"{hour}:00Z")
        yield


async def close_until(connection: Any, hour: str) -> None:
    async with closing(connection, hour):
        pass


async def marks(url: str) -> list[Any]:
    """(kind, device, day and time) of all marks in the order of their ids."""
    time = "to_char(bucket AT TIME ZONE 'UTC', 'DD\"T\"HH24:MI:SS')"
    return await query(url, f"SELECT kind, device_id, {time} FROM rollup_mark ORDER BY id")


async def until_waiting(url: str, locktype: str) -> None:
    """Wait until somebody waits for a lock of that type."""
    async with asyncio.timeout(20):
        while await query(url, f"{WAITING} AND locktype = $1", locktype) == [(0,)]:
            await asyncio.sleep(0.01)


def at(device: str, time: str, kwh: float = 1.0) -> str:
    return f"{device}\t{time}\t{kwh:.4f}\t230.00\n"


async def test_nothing_is_marked_before_anything_is_closed(shard: Shard) -> None:
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1), meter("A", 1, day="2025-12-31")))
    assert await query(shard.url, "SELECT closed_until::text FROM rollup_state") == [("-infinity",)]
    assert await marks(shard.url) == []


async def test_a_late_reading_is_marked_and_one_of_an_open_hour_is_not(shard: Shard, other: Any) -> None:
    await close_until(other, f"{DAY}T12")
    late = [at("A", f"{DAY}T11:59:59.999"), at("A", f"{DAY}T11:00:00"), at("C", "2026-11-19T23:00:00")]
    async with shard.running():
        await shard.until_committed(await shard.receive(at("B", f"{DAY}T12:01:00"), at("A", f"{DAY}T12:59:00")))
        assert await marks(shard.url) == []
        await shard.until_committed(await shard.receive(at("B", f"{DAY}T13:30:00"), *late))
        expected = [("meter", "A", "20T11:00:00"), ("meter", "C", "19T23:00:00")]
        assert await marks(shard.url) == expected
        vehicle = f"V\t{DAY}T10:30:00\t50.00\t1.0000\t20.00\n"
        await shard.until_committed(await shard.receive(vehicle, kind=1))
    assert await marks(shard.url) == [*expected, ("vehicle", "V", "20T10:00:00")]


async def test_a_neighbour_of_a_closed_hour_is_marked(shard: Shard, other: Any) -> None:
    """A reading just behind the boundary may belong to one before it, in an hour that is rolled up already."""
    await close_until(other, f"{DAY}T12")
    async with shard.running():
        await shard.until_committed(await shard.receive(at("A", f"{DAY}T12:01:00"), at("B", f"{DAY}T12:01:00.5")))
        assert await marks(shard.url) == []
        await shard.until_committed(await shard.receive(at("A", f"{DAY}T12:00:59.999"), at("B", f"{DAY}T12:30:00")))
        assert await marks(shard.url) == [("meter", "A", "20T12:00:00")]
        await other.execute("UPDATE rollup_state SET margin = '3 minutes'")
        await shard.until_committed(await shard.receive(at("C", f"{DAY}T12:02:59"), at("D", f"{DAY}T12:03:00")))
    assert await marks(shard.url) == [("meter", "A", "20T12:00:00"), ("meter", "C", "20T12:00:00")]


async def test_a_re_send_marks_nothing(shard: Shard, other: Any) -> None:
    await close_until(other, f"{DAY}T13")
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("B", 1), meter("A", 1), duplicates=[0]))
    assert await marks(shard.url) == [MARK]


async def test_no_hour_is_closed_while_a_flush_is_open(shard: Shard, other: Any) -> None:
    """And what that flush stores is there for whoever reads after the closing; the next one knows the hour closed."""
    blocker = await database.connect(shard.url, "tests", 5)
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 1)))
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE meter_current IN ACCESS EXCLUSIVE MODE")
            seq = await shard.receive(meter("A", 2))
            await until_waiting(shard.url, "relation")  # the flush has stored its row
            close = asyncio.ensure_future(close_until(other, f"{DAY}T13"))
            await until_waiting(shard.url, "advisory")
            await asyncio.sleep(0.2)
            assert not close.done()
            assert await query(shard.url, "SELECT isfinite(closed_until) FROM rollup_state") == [(False,)]
        await asyncio.wait_for(close, 60)
        assert len(await stored(shard.url)) == 2  # this snapshot is the roll-up's
        await shard.until_committed(seq)
        assert await marks(shard.url) == []
        await shard.until_committed(await shard.receive(meter("A", 3)))
    assert await marks(shard.url) == [MARK]
    await database.close(blocker)


@pytest.mark.parametrize("default", ["read committed", "repeatable read", "serializable"])
async def test_a_flush_that_waited_for_a_closing_marks(shard: Shard, other: Any, default: str) -> None:
    """Its first statement began before closed_until rose, and a snapshot of then would not know it."""
    name = shard.url.rsplit("/", 1)[1]
    await query(shard.url, f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{default}'")
    async with shard.running():
        await shard.until_committed(await shard.receive(meter("A", 0)))  # no partition is missing below
        async with closing(other, f"{DAY}T13"):
            seq = await shard.receive(meter("A", 1))
            await until_waiting(shard.url, "advisory")
        await shard.until_committed(seq)
    assert await marks(shard.url) == [MARK]


async def test_a_closing_that_takes_too_long_is_waited_for_again(tmp_path: Path, database_url: str, other: Any) -> None:
    shard = await Shard(tmp_path / "j.sqlite", database_url, POSTGRES__LOCK_TIMEOUT_MS="50").open()
    async with shard.running():
        async with closing(other, f"{DAY}T13"):
            seq = await shard.receive(meter("A", 1))
            async with asyncio.timeout(60):
                while shard.committer.database != "locked":
                    await asyncio.sleep(0.01)
            assert await stored(database_url) == []
        await shard.until_committed(seq)
    assert (await marks(database_url), await stored(database_url)) == ([MARK], [("A", "12:00:01", 1.0)])
    assert shard.committer.epoch == 1
    await shard.journal.close()


async def test_a_flush_that_is_rolled_back_leaves_no_mark(shard: Shard, other: Any) -> None:
    await close_until(other, f"{DAY}T13")
    async with shard.running():
        await shard.until_committed(await shard.receive(at("B", f"{DAY}T13:30:00")))
    [(journal_id, epoch, last)] = await query(shard.url, "SELECT journal_id, epoch, last_seq FROM shard_checkpoint")
    rows = meter("A", 1).encode()
    batch = Batch()
    batch.add(last + 1, [(Part(0, 1, rows), split_lines(rows))], {})
    connection = await database.connect(shard.url, "tests", 5)
    await prepare(connection)
    reached = []

    def break_down(point: str) -> None:
        reached.append(point)
        if point == "flush.before_commit":
            raise OSError("broken")

    with mock.patch.object(failpoints, "_reach", break_down), pytest.raises(OSError, match="broken"):
        await flush(connection, batch, Ownership(journal_id, epoch), last)
    assert reached.count("flush.in_copy") == 3  # history, current state, mark
    assert await marks(shard.url) == []
    await flush(connection, batch, Ownership(journal_id, epoch), last)
    assert await marks(shard.url) == [MARK]
    await database.close(connection)


async def test_of_a_batch_with_refused_lines_the_stored_ones_are_marked(shard: Shard, other: Any) -> None:
    await query(shard.url, RULE)
    await close_until(other, f"{DAY}T13")
    lines = [meter("P", 1, 13), meter("A", 1), meter("A", 2, 13), at("B", f"{DAY}T13:30:00"), meter("C", 3)]
    async with shard.running():
        await shard.until_committed(await shard.receive(*lines))
    assert await query(shard.url, "SELECT count(*) FROM dead_letter") == [(2,)]
    assert await marks(shard.url) == [MARK, ("meter", "C", "20T12:00:00")]


async def _parked(shard: Shard, *lines: str) -> list[int]:
    await query(shard.url, RULE)
    async with shard.running():
        await shard.until_committed(await shard.receive(*lines))
    await query(shard.url, RULE_AWAY)
    return [number for (number,) in await query(shard.url, "SELECT id FROM dead_letter ORDER BY id")]


async def test_a_dead_letter_that_is_stored_after_all_is_marked(shard: Shard, other: Any) -> None:
    late, fresh = await _parked(shard, meter("A", 1, 13), at("A", f"{DAY}T13:30:00", 13))
    await close_until(other, f"{DAY}T13")
    assert await dead_letters.retry(other, fresh, NO_ARCHIVE) == ""
    assert await marks(shard.url) == []
    assert await dead_letters.retry(other, late, NO_ARCHIVE) == ""
    assert await marks(shard.url) == [MARK]


async def test_a_retry_that_waited_for_a_closing_marks(shard: Shard, other: Any) -> None:
    [dead] = await _parked(shard, meter("A", 1, 13))
    retrying = await database.connect(shard.url, "tests", 5)
    async with closing(other, f"{DAY}T13"):
        task = asyncio.ensure_future(dead_letters.retry(retrying, dead, NO_ARCHIVE))
        await until_waiting(shard.url, "advisory")
        assert await stored(shard.url) == []
    assert await asyncio.wait_for(task, 60) == ""
    assert await marks(shard.url) == [MARK]
    await database.close(retrying)


async def test_a_retry_that_is_refused_again_leaves_no_mark(shard: Shard, other: Any) -> None:
    [dead] = await _parked(shard, meter("A", 1, 13))
    await close_until(other, f"{DAY}T13")
    await query(shard.url, "ALTER TABLE shard_book ADD CONSTRAINT other CHECK (kind <> 'meter' OR dead_lettered > 0)")
    assert "other" in await dead_letters.retry(other, dead, NO_ARCHIVE)
    assert (await marks(shard.url), await stored(shard.url)) == ([], [])


async def test_who_waits_for_a_flush_holds_up_no_closing(shard: Shard, other: Any) -> None:
    """Rows of checkpoints first, then the lock: in the other order a retry, a flush and a closing wait in a circle."""
    [dead] = await _parked(shard, meter("A", 1, 13))
    retrying, flushing = [await database.connect(shard.url, "tests", 5) for _ in range(2)]
    async with flushing.transaction():
        await flushing.execute("UPDATE shard_checkpoint SET updated_at = now()")
        task = asyncio.ensure_future(dead_letters.retry(retrying, dead, NO_ARCHIVE))
        await until_waiting(shard.url, "transactionid")
        await asyncio.wait_for(close_until(other, f"{DAY}T13"), 10)
        assert not task.done()
    assert await asyncio.wait_for(task, 60) == ""
    assert await marks(shard.url) == [MARK]
    for connection in (retrying, flushing):
        await database.close(connection)
