"""A journal's file, looked at from outside: beside its writer, after it, and damaged."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hseie import journal_file
from hseie.audit import read_journals
from hseie.errors import JournalError
from hseie.journal_file import JournalFile, journal_files, read_journal, shard_in
from hseie.writer.journal import Entry, Journal, journal_path

FRAME = Entry(b"a frame", {0: 3, 1: 2}, {1: [0]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path / "journal", 1, 2)


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(path, 1, 2)
    yield journal
    with contextlib.suppress(RuntimeError):  # the test has closed it
        await journal.close()


def names(path: Path) -> set[str]:
    return {file.name.removeprefix(path.name) for file in path.parent.iterdir()}


def numbers(found: JournalFile) -> tuple[int, int, int, int]:
    """Readings of kind 1: forgotten, committed, waiting; and re-sends among the last."""
    assert found.pruned is not None
    return found.pruned.readings[1], found.committed.readings[1], found.waiting.readings[1], found.waiting.duplicates[1]


async def test_it_is_read_while_its_writer_works_on_it(path: Path, journal: Journal) -> None:
    first = await journal.append([FRAME] * 500)
    await journal.prune(first + 299)
    await journal.note("owners", '["one"]')
    found = read_journal(path, {str(journal.identity.journal_id): first + 399})
    assert numbers(found) == (600, 200, 200, 100)
    assert (found.first_seq, found.pruned_seq, found.last_seq) == (first, first + 299, first + 499)
    assert (found.frames, found.waiting_frames, found.frame_bytes) == (200, 100, 200 * len(FRAME.body))
    assert (found.shard, found.shards, found.owners, found.drained, found.damage) == (1, 2, ("one",), False, ())
    assert found.disk_bytes > 0
    # And nobody is held up by it.
    assert await journal.append([FRAME]) == first + 500
    assert read_journal(path, {}).waiting_frames == 201  # not known to PostgreSQL: everything waits


async def test_it_is_seen_at_one_moment(path: Path, journal: Journal) -> None:
    """However much is appended and forgotten meanwhile: what is counted is all there was, and nothing twice."""
    first = await journal.append([FRAME] * 2000)
    committed = {str(journal.identity.journal_id): first + 1999}

    def read_often() -> list[JournalFile]:
        return [read_journal(path, committed) for _ in range(60)]

    reading = asyncio.get_running_loop().run_in_executor(None, read_often)
    seq = first
    while not reading.done():
        await journal.append([FRAME])
        await journal.prune(min(seq, first + 1990))
        seq += 7
    found = await reading
    assert {(sum(numbers(some)[:2]), some.damage) for some in found} == {(4000, ())}
    assert len({some.pruned_seq for some in found}) > 5  # it did move


async def test_one_that_was_closed_is_left_as_it_is(path: Path, journal: Journal) -> None:
    await journal.append([FRAME])
    await journal.close()
    before = (names(path), path.read_bytes(), path.stat().st_mtime_ns)
    assert before[0] == {""}
    assert read_journal(path, {}).frames == 1
    assert (names(path), path.read_bytes(), path.stat().st_mtime_ns) == before


_APPEND_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from hseie.writer.journal import Entry, Journal

async def main():
    journal = await Journal.open(Path(sys.argv[1]), 1, 2)
    await journal.append([Entry(b"a frame", {0: 3}, {})] * 7)
    print("durable", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_one_whose_writer_was_killed_is_read_with_its_wal(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _APPEND_AND_WAIT, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"durable\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    content = path.read_bytes()
    assert read_journal(path, {}).frames == 7
    assert path.read_bytes() == content  # what the WAL holds stays there
    journal = await Journal.open(path, 1, 2)
    assert (journal.last_seq - journal.oldest_seq, names(path)) == (6, {"", "-wal", "-shm"})
    await journal.close()


async def test_a_journal_from_before_its_counts_says_that_it_does_not_know(path: Path, journal: Journal) -> None:
    first = await journal.append([FRAME] * 3)
    await journal.prune(first)
    await journal.close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("DELETE FROM meta WHERE key = 'pruned_counts'")
    database.close()
    again = await Journal.open(path, 1, 2)
    await again.prune(first + 1)  # what is half known is not known
    assert read_journal(path, {}).pruned is None
    await again.close()


async def test_counts_go_on_in_the_next_life(path: Path, journal: Journal) -> None:
    first = await journal.append([FRAME] * 3)
    await journal.prune(first)
    await journal.close()
    again = await Journal.open(path, 1, 2)
    await again.prune(first + 2)
    assert numbers(read_journal(path, {}))[0] == 6
    await again.close()


async def test_damage_is_named(path: Path, journal: Journal) -> None:
    first = await journal.append([FRAME] * 5)
    await journal.close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("DELETE FROM frame WHERE seq BETWEEN ? AND ?", (first + 1, first + 2))
    database.execute("UPDATE frame SET body = ? WHERE seq = ?", (b"b frame", first + 3))
    database.close()
    assert read_journal(path, {}).damage == (f"the frames {first + 1} to {first + 2} are missing",)
    checked = read_journal(path, {}, check_frames=True)
    assert checked.damage[1] == f"frame {first + 3} is damaged (its CRC does not fit)"
    other = path.with_name("shard-0000-of-0002.sqlite")
    path.rename(other)
    assert read_journal(other, {}).damage[0] == "it is the journal of shard 1 of 2; was it renamed?"


async def test_checksums_are_compared_in_short_transactions(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lasted for all of them would keep a writer from opening the file."""
    first = await journal.append([FRAME] * 1000)
    direct = sqlite3.connect(path, isolation_level=None)
    direct.execute("UPDATE frame SET crc = crc + 1 WHERE seq IN (?, ?, ?)", (first, first + 350, first + 700))
    frame_crc, compared = journal_file.frame_crc, 0
    forgotten_at = {100: first + 600, 610: first + 50}

    def compare(body: bytes, readings: str, duplicates: bytes | None) -> int:
        nonlocal compared
        compared += 1
        if compared in forgotten_at:
            direct.execute("DELETE FROM frame WHERE seq >= ?", (forgotten_at[compared],))
        return frame_crc(body, readings, duplicates)

    monkeypatch.setattr(journal_file, "frame_crc", compare)
    found = read_journal(path, {}, check_frames=True)
    assert (found.frames, compared) == (1000, 600)
    assert [words.split(" is ")[0] for words in found.damage] == [f"frame {first}", f"frame {first + 350}"]
    monkeypatch.setattr(journal_file, "_BYTES_CHECKED_AT_ONCE", 1)  # large frames: a transaction for each
    assert read_journal(path, {}, check_frames=True).damage == (f"frame {first} is damaged (its CRC does not fit)",)
    assert compared == 600 + 50
    direct.close()


@pytest.mark.parametrize(
    "name", ["shard-0000-of-0002.old.sqlite", "shard-0000-of-0002 (copy).sqlite", "shard-0-of-2.sqlite", "x.sqlite"]
)
def test_what_is_no_journals_name(name: str) -> None:
    with pytest.raises(JournalError, match="is no journal's name; move it out of this folder"):
        shard_in(Path("journal") / name)
    assert shard_in(Path("journal/shard-0012-of-0064.sqlite")) == (12, 64)


async def test_a_copy_beside_the_journals_is_named_and_not_counted(path: Path, journal: Journal) -> None:
    await journal.append([FRAME])
    await journal.close()
    copy = path.with_name("shard-0001-of-0002.old.sqlite")
    copy.write_bytes(path.read_bytes())
    found = read_journals(path.parent, 2, {})
    assert [file.path for file in found.files] == [path]
    assert [words.split(";")[0] for words in found.unreadable] == [f"{copy} is no journal's name"]


async def test_what_is_no_journal_is_said_in_a_sentence(path: Path) -> None:
    with pytest.raises(JournalError, match="there is no such file"):
        read_journal(path, {})
    assert not path.exists()
    assert journal_files(path.parent) == []
    path.parent.mkdir()
    path.write_bytes(b"something else altogether" * 1000)
    with pytest.raises(JournalError, match="cannot be read as a journal: file is not a database"):
        read_journal(path, {})
    path.write_bytes(b"")
    with pytest.raises(JournalError, match="cannot be read as a journal: no such table"):
        read_journal(path, {})
    assert names(path) == {""}


async def test_a_torn_file_is_damaged(path: Path, journal: Journal) -> None:
    await journal.append([Entry(os.urandom(3000), {0: 1}, {})] * 500)
    await journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(JournalError, match="disk image is malformed"):
        read_journal(path, {})
