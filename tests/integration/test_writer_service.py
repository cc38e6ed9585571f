"""What the writer's service adds to its parts: the window from the journal, and what the journal may forget."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from hseie.config_load import load
from hseie.errors import JournalError
from hseie.frames import Frame, Part, shard_of
from hseie.writer import reshard, service
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.journal import Entry, Journal, journal_path
from hseie.writer.reshard import is_expired, stale_journals
from hseie.writer.room import Limits
from tests.integration.shard_entrance import Writer


def line(device: str, second: int) -> bytes:
    return f"{device}\t2026-11-20T12:00:{second:02d}\t1.0000\t230.00\n".encode()


async def append(journal: Journal, *lines: bytes) -> int:
    body = Frame(1, 1, False, (Part(0, len(lines), b"".join(lines)),)).encode()
    return await journal.append([Entry(body, {0: len(lines)}, {})])


def window(readings_max: int = 1000) -> DedupeWindow:
    return DedupeWindow(60, readings_max, 1 << 30, time.monotonic())


async def test_the_window_is_rebuilt_from_the_journal(tmp_path: Path) -> None:
    journal = await Journal.open(journal_path(tmp_path, 0, 1), 0, 1)
    first = await append(journal, line("A", 1), line("B", 1))
    await append(journal, line("A", 2))
    dedupe = window()
    await service._rebuild_window(dedupe, journal)
    assert dedupe.check(0, [line("A", 1)[:-1], line("A", 3)[:-1], line("A", 2)[:-1]]) == [0, 2]
    assert dedupe.first_seq == first
    await journal.close()


async def test_the_rebuilt_window_keeps_its_limit(tmp_path: Path) -> None:
    journal = await Journal.open(journal_path(tmp_path, 0, 1), 0, 1)
    for number in range(100):
        await append(journal, *[line(f"M{number}-{index}", 1) for index in range(50)])
    dedupe = window(readings_max=1000)
    await service._rebuild_window(dedupe, journal)
    assert len(dedupe) <= 1000 + 50
    await journal.close()


async def test_another_number_of_shards_shares_its_window(tmp_path: Path) -> None:
    devices = [f"M{number}" for number in range(20)]
    for shard in range(2):
        journal = await Journal.open(journal_path(tmp_path, shard, 2), shard, 2)
        await append(journal, *[line(device, 1) for device in devices if shard_of(device, 2) == shard])
        await journal.close()
    assert len(stale_journals(tmp_path, 3)) == 2
    for shard in range(3):
        dedupe = window()
        await service._borrow_windows(dedupe, tmp_path, shard, 3, first_seq=1)
        mine = [line(device, 1)[:-1] for device in devices if shard_of(device, 3) == shard]
        assert dedupe.check(0, mine) == list(range(len(mine)))
        assert len(dedupe) == len(mine)


async def test_a_copy_in_the_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    config = load(overrides={"node.data": str(tmp_path), "writer.shards": 2}).config
    journal = await Journal.open(journal_path(config.data_dir / "journal", 0, 2), 0, 2)
    await journal.close()
    path = journal_path(journal.folder, 0, 2)
    path.with_name("shard-0000-of-0002.old.sqlite").write_bytes(path.read_bytes())
    with pytest.raises(JournalError, match="is no journal's name; move it out of this folder"):
        await service._borrow_windows(window(), journal.folder, 0, 2, first_seq=1)
    with pytest.raises(JournalError, match="is no journal's name; move it out of this folder"):
        await reshard.serve(SimpleNamespace(ready=lambda: None), config, "")


async def test_the_journal_forgets_what_is_committed_and_outside_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PRUNE_EVERY_S", 0.01)
    journal = await Journal.open(journal_path(tmp_path, 0, 1), 0, 1)
    first = await append(journal, line("A", 0))
    for second in range(1, 10):
        await append(journal, line("A", second))
    dedupe, committer = SimpleNamespace(first_seq=first + 4), SimpleNamespace(committed_seq=first + 2)
    pruning = asyncio.ensure_future(service._prune(journal, dedupe, committer))
    for committed, kept_from in ((first + 2, first + 3), (first + 9, first + 4)):  # not beyond either of the two
        committer.committed_seq = committed
        async with asyncio.timeout(10):
            while journal.oldest_seq < kept_from:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert journal.oldest_seq == kept_from
    dedupe.first_seq = None  # nothing is remembered
    async with asyncio.timeout(10):
        while journal.bytes:
            await asyncio.sleep(0.01)
    pruning.cancel()
    await journal.close()


def test_a_drained_journal_stays_for_twice_the_window() -> None:
    # Moments: Unix seconds, uptime, boot.
    assert not is_expired("", now="1e9 1e9 a", window_s=60)
    assert not is_expired("1000.0 10.0 a", now="1000.0 110.0 a", window_s=60)
    assert is_expired("1000.0 10.0 a", now="1000.0 131.0 a", window_s=60)
    # A clock that was set says nothing, unless the machine was started anew meanwhile.
    assert not is_expired("1000.0 10.0 a", now="5000.0 20.0 a", window_s=60)
    assert is_expired("1000.0 10.0 a", now="5000.0 20.0 b", window_s=60)
    assert not is_expired("1000.0 10.0 a", now="1100.0 900.0 b", window_s=60)
    assert is_expired("1000.0 10.0 unknown", now="5000.0 20.0 unknown", window_s=60)
    assert not is_expired("1000.0", now="1100.0 900.0 b", window_s=60)  # noted by an earlier version


async def test_what_was_pruned_is_given_back_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_PRUNE_EVERY_S", 0.01)
    monkeypatch.setattr("hseie.writer.sqlite_file._FREE_PAGES_KEPT", 0)
    journal = await Journal.open(journal_path(tmp_path, 0, 1), 0, 1)
    for number in range(20):
        await append(journal, *[line(f"M{number}-{index}", 1) for index in range(1000)])
    pages = journal._writer.execute("PRAGMA page_count").fetchone()[0]
    dedupe, committer = SimpleNamespace(first_seq=None), SimpleNamespace(committed_seq=journal.last_seq)
    pruning = asyncio.ensure_future(service._prune(journal, dedupe, committer))
    async with asyncio.timeout(20):
        while journal._writer.execute("PRAGMA page_count").fetchone()[0] > pages // 10:
            await asyncio.sleep(0.01)
    pruning.cancel()
    assert journal.oldest_seq > journal.last_seq  # all of it was pruned
    await journal.close()


async def test_how_fast_the_journal_drains_is_measured_and_its_state_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_WATCH_EVERY_S", 0.01)
    writer = await Writer(tmp_path, disk_free_bytes_min=1000).start()
    journal, intake = writer.journal, writer.intake
    for second in range(50):
        await append(journal, line("A", second))
    with capture_logs() as logs:
        watching = asyncio.ensure_future(service._watch(structlog.get_logger(), journal, intake))
        await asyncio.sleep(0.05)
        assert intake.draining_rate.per_s == 0
        await journal.prune(journal.last_seq)
        writer.free_space.bytes = 10
        async with asyncio.timeout(10):
            while not intake.draining_rate.per_s or not logs:
                await asyncio.sleep(0.01)
        writer.free_space.bytes = 5000
        async with asyncio.timeout(10):
            while len(logs) < 2:
                await asyncio.sleep(0.01)
    watching.cancel()
    told = [(entry["event"], entry["log_level"], entry.get("state", "")) for entry in logs]
    assert told == [("journal_limited", "warning", "disk_full"), ("journal_well", "info", "")]
    await writer.stop()


def test_each_limit_comes_from_its_key() -> None:
    settings = {
        "writer.journal_bytes_max": 99_000_000,
        "writer.journal_low_water_pct": 70,
        "writer.disk_free_bytes_min": 1234,
        "writer.gathering_bytes_max": 55_000_000,
        "ingest.ack_timeout_ms": 1500,
    }
    assert service._limits(load(overrides=settings).config) == Limits(99_000_000, 70, 1234, 55_000_000, 1.5)
