"""The journal on a real file: order, durability, damage, pruning, and what survives a process that just ends."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hseie.errors import JournalError
from hseie.writer.journal import Entry, Journal, journal_path
from hseie.writer.sqlite_file import cut_off

FIRST = Entry(b"first frame", {0: 3}, {})
SECOND = Entry(b"second frame", {0: 1, 1: 2}, {1: [0]})


async def _journal(tmp_path: Path) -> Journal:
    return await Journal.open(tmp_path / "journal.sqlite", 0, 1)


async def test_frames_come_back_in_order_with_all_they_had(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST, SECOND])
    assert await journal.append([FIRST]) == first + 2
    assert await journal.read(first - 1, first + 2, 1 << 20) == [FIRST, SECOND, FIRST]
    assert await journal.read(first, first + 1, 1 << 20) == [SECOND]
    assert await journal.count_readings(first - 1, first + 2) == {0: 7, 1: 2}
    await journal.close()


async def test_reading_stops_at_a_limit_but_gives_at_least_one(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST] * 10)
    assert len(await journal.read(first - 1, first + 9, 1)) == 1
    assert len(await journal.read(first - 1, first + 9, 3 * len(FIRST.body))) == 3
    await journal.close()


async def test_everything_is_there_after_a_new_opening(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST, SECOND])
    identity, size = journal.identity, journal.bytes
    await journal.close()
    again = await _journal(tmp_path)
    assert (again.identity, again.last_seq, again.opened_last_seq, again.oldest_seq, again.bytes) == (
        identity,
        first + 1,
        first + 1,
        first,
        size,
    )
    assert await again.read(first - 1, first + 1, 1 << 20) == [FIRST, SECOND]
    await again.close()


async def test_sequences_go_on_after_everything_was_pruned(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST] * 450)
    await journal.prune(first + 448)
    assert (journal.oldest_seq, journal.bytes) == (first + 449, len(FIRST.body))
    await journal.prune(first + 449)
    await journal.close()
    again = await _journal(tmp_path)
    assert (again.bytes, again.last_seq, again.oldest_seq) == (0, first + 449, first + 450)
    assert await again.append([SECOND]) == first + 450
    await again.close()


async def test_a_later_journal_of_a_shard_starts_above_the_earlier_one(tmp_path: Path, monkeypatch) -> None:
    early = await Journal.open(tmp_path / "a.sqlite", 0, 1)
    monkeypatch.setattr("hseie.clock.time.time", lambda: 4_000_000_000.0)
    late = await Journal.open(tmp_path / "b.sqlite", 0, 1)
    assert early.identity.journal_id != late.identity.journal_id
    assert late.identity.first_seq == 4_000_000_000_000_000 > early.last_seq
    await early.close()
    await late.close()


async def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST, SECOND])
    with sqlite3.connect(tmp_path / "journal.sqlite") as direct:
        direct.execute("UPDATE frame SET body = ? WHERE seq = ?", (b"second framf", first + 1))
    direct.close()
    with pytest.raises(JournalError, match=f"frame {first + 1} is damaged"):
        await journal.read(first - 1, first + 1, 1 << 20)
    await journal.close()


async def test_a_missing_frame_is_named(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST, FIRST, FIRST])
    with sqlite3.connect(tmp_path / "journal.sqlite") as direct:
        direct.execute("DELETE FROM frame WHERE seq = ?", (first + 1,))
    direct.close()
    with pytest.raises(JournalError, match="missing"):
        await journal.read(first - 1, first + 2, 1 << 20)
    await journal.close()


async def test_a_renamed_journal_is_refused(tmp_path: Path) -> None:
    journal = await Journal.open(journal_path(tmp_path, 0, 2), 0, 2)
    await journal.close()
    journal_path(tmp_path, 0, 2).rename(journal_path(tmp_path, 1, 2))
    with pytest.raises(JournalError, match="shard 0 of 2"):
        await Journal.open(journal_path(tmp_path, 1, 2), 1, 2)


async def test_numbers_that_another_process_has_used_and_pruned_are_not_used_again(tmp_path: Path) -> None:
    """As when a writer that stood still for long wakes up beside its successor: its frame would never be flushed."""
    woken = await _journal(tmp_path)
    successor = await _journal(tmp_path)
    last = await successor.append([FIRST, FIRST]) + 1
    await successor.prune(last)
    with pytest.raises(JournalError, match="another process has written"):
        await woken.append([SECOND])
    assert await successor.append([SECOND]) == last + 1  # and nothing holds it up
    await successor.close()
    await woken.close()


async def test_after_an_error_the_handle_is_not_used_again(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST])
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("DROP TABLE frame")
    other.close()
    with pytest.raises(JournalError):
        await journal.append([SECOND])
    assert journal.last_seq == first  # nothing of the failed group counts as durable
    with pytest.raises(JournalError, match="failed before"):
        await journal.append([SECOND])
    await journal.close()


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who holds a read transaction open, until `execute("COMMIT")`."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM frame").fetchone()
    yield reader
    reader.close()


async def test_a_journal_is_not_used_again_while_somebody_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in its WAL may not be on the disk after a failed sync, and cannot be written anew meanwhile."""
    monkeypatch.setattr("hseie.writer.sqlite_file._BUSY_TIMEOUT_S", 0.1)
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST])
    with _reader(tmp_path / "journal.sqlite") as reader:
        await journal.close()
        with pytest.raises(JournalError, match="another process has been reading this journal"):
            await _journal(tmp_path)
        reader.execute("COMMIT")
        again = await _journal(tmp_path)
        assert (tmp_path / "journal.sqlite-wal").stat().st_size == 0
        assert await again.append([SECOND]) == first + 1
    await again.close()


async def test_a_reader_is_in_nobodys_way_where_nothing_is_in_the_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hseie.writer.sqlite_file._BUSY_TIMEOUT_S", 0.1)
    journal = await _journal(tmp_path)
    first = await journal.append([FIRST])
    await journal.close()
    with _reader(tmp_path / "journal.sqlite"):
        again = await _journal(tmp_path)
        assert await again.append([SECOND]) == first + 1
    await again.close()


async def test_an_append_does_not_wait_for_a_reader(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    await journal.append([FIRST])
    with _reader(tmp_path / "journal.sqlite") as reader:
        await journal.append([FIRST])
        journal._wal_is_long = True
        began = time.monotonic()
        await journal.append([SECOND])
        assert time.monotonic() - began < 3  # it would wait for 5 s
        assert journal._writer.execute("PRAGMA busy_timeout").fetchone()[0] == 5000  # everything else does
        reader.execute("COMMIT")
    size = (tmp_path / "journal.sqlite-wal").stat().st_size
    journal._wal_is_long = True
    for _ in range(3):
        await journal.append([FIRST])
    assert (tmp_path / "journal.sqlite-wal").stat().st_size <= size + 4 * 4120  # the first one, then it begins anew
    assert journal._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1] <= 8
    await journal.close()


async def test_every_append_is_synced_before_it_returns(tmp_path: Path) -> None:
    journal = await _journal(tmp_path)
    settings = {
        name: journal._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")
    }
    assert settings == {"synchronous": 2, "journal_mode": "wal"}  # 2 is FULL: each commit syncs the WAL
    await journal.close()


_APPEND_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from hseie.writer.journal import Entry, Journal

async def main():
    journal = await Journal.open(Path(sys.argv[1]), 0, 1)
    while True:
        first = await journal.append([Entry(b"x" * 3000, {0: 1}, {})] * 5)
        print(first + 4, flush=True)

asyncio.run(main())
"""


async def test_what_was_reported_durable_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    process = subprocess.Popen([sys.executable, "-c", _APPEND_FOR_EVER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    reported = 0
    for _ in range(200):
        reported = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    for line in process.stdout:
        if line.endswith(b"\n"):
            reported = int(line)
    process.wait()
    process.stdout.close()
    journal = await Journal.open(path, 0, 1)
    assert journal.last_seq >= reported
    assert len(await journal.read(journal.oldest_seq - 1, journal.last_seq, 1 << 30)) >= 1000
    await journal.close()


async def test_the_wal_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.writer.journal._COPY_BACK_BYTES", 1 << 20)
    monkeypatch.setattr("hseie.writer.journal._WAL_PAGES_MAX", 1024)
    journal = await _journal(tmp_path)
    for _ in range(60):
        await journal.append([Entry(os.urandom(500_000), {0: 1}, {})])
        await journal.prune(journal.last_seq - 2)
    wal = (tmp_path / "journal.sqlite-wal").stat().st_size
    await journal.close()
    assert wal < 20_000_000  # 30 MB went through it


def _file_bytes(tmp_path: Path) -> int:
    return (tmp_path / "journal.sqlite").stat().st_size


async def _worst_day(journal: Journal, frames: int) -> None:
    """Fill a journal and prune all but the last two frames."""
    body = os.urandom(250_000)
    for _ in range(frames // 4):
        await journal.append([Entry(body, {0: 1}, {})] * 4)
    await journal.append([FIRST, SECOND])
    await journal.prune(journal.last_seq - 2)


async def test_a_journal_gives_back_the_room_of_its_worst_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.writer.sqlite_file._FREE_PAGES_KEPT", 256)
    journal = await _journal(tmp_path)
    await _worst_day(journal, 80)
    await journal._in(journal._read_thread, journal._copy_back)
    assert _file_bytes(tmp_path) > 19_000_000
    for _ in range(14):  # it may be needed again at once
        await journal.give_back()
    assert journal._writer.execute("PRAGMA freelist_count").fetchone()[0] > 4000
    for _ in range(2):
        await journal.give_back()
    assert await journal.append([FIRST]) == journal.last_seq  # while it shrinks, it goes on
    await journal._in(journal._read_thread, journal._copy_back)
    assert _file_bytes(tmp_path) < 3_000_000  # a megabyte of it free, for the next rush
    last = journal.last_seq
    await journal.close()
    again = await _journal(tmp_path)
    assert await again.read(last - 3, last, 1 << 20) == [FIRST, SECOND, FIRST]
    await again.close()


async def test_room_is_given_back_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.writer.sqlite_file._FREE_PAGES_KEPT", 0)
    monkeypatch.setattr("hseie.writer.sqlite_file._LOOKS", 1)
    steps: list[int] = []

    def note(connection: sqlite3.Connection, pages: int) -> None:
        steps.append(pages)
        cut_off(connection, pages)

    monkeypatch.setattr("hseie.writer.journal.cut_off", note)
    journal = await _journal(tmp_path)
    await _worst_day(journal, 40)
    await journal.give_back()
    await journal.close()
    assert len(steps) > 5
    assert max(steps) == 128  # half a megabyte, then others get their turn in the thread


@pytest.mark.parametrize("empty", [True, False])
async def test_a_file_of_an_earlier_version_learns_to_shrink_when_it_is_empty(tmp_path: Path, empty: bool) -> None:
    journal = await _journal(tmp_path)
    await journal.append([FIRST])
    if empty:
        await journal.prune(journal.last_seq)
    last = journal.last_seq
    await journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None) as direct:  # as it was made before
        direct.execute("PRAGMA journal_mode = DELETE")
        direct.execute("PRAGMA auto_vacuum = NONE")
        direct.execute("VACUUM")
    direct.close()
    again = await _journal(tmp_path)
    kind = again._writer.execute("PRAGMA auto_vacuum").fetchone()[0]
    assert kind == (2 if empty else 0)  # 2 is INCREMENTAL
    for _ in range(20):
        await again.give_back()  # does no harm
    assert await again.append([SECOND]) == last + 1
    assert await again.read(last, last + 1, 1 << 20) == [SECOND]
    await again.close()
