"""The journal of one shard: SQLite in WAL mode, one row a frame, durable before anybody is told so.

One thread writes, another reads (a replay of gigabytes must not delay acknowledgements); the event loop only waits for
them. Any error of a write or sync is final for this handle: SQLite cannot say what reached the disk, so the process
ends and the next one finds out by reading.

Sequences rise by one a frame. The first one of a journal is made of the clock (Unix seconds times a million), so that a
shard's later journals start above all its earlier ones and a receipt "shard-sequence" names one frame for ever.
"""

import asyncio
import functools
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgpack
import orjson

from hseie import failpoints, histogram
from hseie.errors import JournalError
from hseie.histogram import Histogram
from hseie.journal_file import frame_crc, journal_name
from hseie.resources import sql
from hseie.writer.sqlite_file import PAGE_BYTES, Identity, SparePages, cut_off, free_pages, open_file

_COPY_BACK_BYTES = 8 << 20  # after this much was appended the WAL is copied into the file, in the background
_WAL_PAGES_MAX = 32_768  # 128 MiB: under steady load the WAL never empties by itself; then one append waits for it
_RESTART_WAIT_MS = 50  # for our own reads, which take milliseconds; whoever reads for longer holds up no append
_PRUNE_ROWS = 200  # per transaction, so that pruning never holds up a group for long
_GIVE_BACK_PAGES = 128  # per transaction, for the same reason
_GIVE_BACK_STEPS = 128  # per call: 64 MiB

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame for the journal, or of it.

    `readings` is per kind number how many lines it has, `duplicates` which of them were exact re-sends (by index).
    """

    body: bytes
    readings: dict[int, int]
    duplicates: dict[int, list[int]]


def journal_path(folder: Path, shard: int, shards: int) -> Path:
    """Return the file of a shard."""
    return folder / journal_name(shard, shards)


class Journal:
    """An open journal. Made by `await Journal.open(...)`; used from one event loop."""

    def __init__(self, path: Path, shard: int, shards: int) -> None:
        self._path = path
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="journal-write")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="journal-read")
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._wanted = (shard, shards)
        self._copying_back: asyncio.Future[int] | None = None
        self._uncopied_bytes = 0
        self._wal_is_long = False
        self._spare = SparePages()
        self.identity: Identity
        self.oldest_seq = 0  # the oldest frame found at opening; one past the newest where there is none
        self.opened_last_seq = 0  # the newest frame found at opening
        self.last_seq = 0  # the newest frame that is durable
        self.bytes = 0  # of all frames in the journal, flushed or not
        self.pruned_bytes = 0  # since the opening
        self.sync_seconds = Histogram(histogram.SECONDS)  # of each group's commit
        self.broken = False

    @classmethod
    async def open(cls, path: Path, shard: int, shards: int) -> "Journal":
        """Open or make the file. Raises JournalError when it cannot be read or written, or is another shard's."""
        journal = cls(path, shard, shards)
        await journal._in(journal._write_thread, journal._open)
        return journal

    def _open(self) -> None:
        opened = open_file(self._path, *self._wanted)
        self._writer, self._reader = opened.writer, opened.reader
        self.identity = opened.identity
        self.last_seq = self.opened_last_seq = opened.last_seq
        self.oldest_seq = opened.oldest_seq
        self.bytes = opened.bytes
        self._pruned = opened.pruned  # None: it was pruned before that was counted

    async def append(self, entries: Sequence[Entry]) -> int:
        """Make a group of frames durable with one sync; return the sequence of its first frame.

        One append at a time. Raises JournalError; then nothing of the group may be acknowledged, and the journal is
        not to be used any more.
        """
        first = self.last_seq + 1
        size = await self._in(self._write_thread, lambda: self._append(first, entries))
        self.last_seq = first + len(entries) - 1
        self.bytes += size
        self._copy_back_if_due(size + (len(entries) + 1) * PAGE_BYTES)
        return first

    def _append(self, first: int, entries: Sequence[Entry]) -> int:
        rows = []
        for seq, entry in enumerate(entries, start=first):
            readings = "{" + ",".join(f'"{kind}":{count}' for kind, count in entry.readings.items()) + "}"
            duplicates = msgpack.packb(entry.duplicates) if entry.duplicates else None
            rows.append((seq, entry.body, readings, duplicates, frame_crc(entry.body, readings, duplicates)))
        self._writer.execute("BEGIN IMMEDIATE")
        self._check_sole_writer(first)
        self._writer.executemany(sql("journal", "frame_insert"), rows)
        failpoints.reach("journal.before_commit")
        began = time.monotonic()
        self._writer.execute("COMMIT")  # with synchronous=FULL this returns after the WAL is synced
        self.sync_seconds.observe(time.monotonic() - began)
        failpoints.reach("journal.after_commit")
        if self._wal_is_long:
            self._wal_is_long = False
            self._restart_wal()
        return sum(len(entry.body) for entry in entries)

    def _restart_wal(self) -> None:
        # Where somebody reads, the WAL grows on, and this is tried again after the next copying back.
        (usual_ms,) = self._writer.execute("PRAGMA busy_timeout").fetchone()
        self._writer.execute(f"PRAGMA busy_timeout = {_RESTART_WAIT_MS:d}")
        self._writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        self._writer.execute(f"PRAGMA busy_timeout = {usual_ms:d}")

    def _check_sole_writer(self, first: int) -> None:
        # What another process has journaled, flushed and pruned has left its numbers free; a frame that took one of
        # them would count as committed and never be flushed.
        (newest,) = self._writer.execute(sql("journal", "frame_newest")).fetchone()
        if newest >= first:
            self.broken = True
            self._writer.execute("ROLLBACK")
            raise JournalError(
                f"{self._path}: another process has written frames up to {newest}, this one is at {first - 1}; is a "
                "second node running on this folder?"
            )

    async def crc(self, seq: int) -> int | None:
        """Return the CRC of a frame, by which it is told from another journal's of that number; None: not here."""
        row = await self._in(
            self._read_thread, lambda: self._reader.execute(sql("journal", "frame_crc"), (seq,)).fetchone()
        )
        return None if row is None else int(row[0])

    async def read(self, after_seq: int, up_to_seq: int, bytes_max: int) -> list[Entry]:
        """Return the frames after `after_seq` up to `up_to_seq`, in order, about `bytes_max` of them (at least one).

        Raises JournalError when a frame is damaged or missing.
        """
        return await self._in(self._read_thread, lambda: self._read(after_seq, up_to_seq, bytes_max))

    def _read(self, after_seq: int, up_to_seq: int, bytes_max: int) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        expected = after_seq + 1
        cursor = self._reader.execute(sql("journal", "frame_read"), (after_seq, up_to_seq))
        for seq, body, readings, duplicates, crc in cursor:
            failpoints.reach("journal.read")
            if crc != frame_crc(body, readings, duplicates):
                raise JournalError(f"{self._path}: frame {seq} is damaged (its CRC does not fit)")
            if seq != expected:
                raise JournalError(f"{self._path}: the frames {expected} to {seq - 1} are missing")
            counts = {int(kind): count for kind, count in orjson.loads(readings).items()}
            marked = msgpack.unpackb(duplicates, strict_map_key=False) if duplicates else {}
            entries.append(Entry(body, counts, marked))
            size += len(body)
            expected += 1
            if size >= bytes_max:
                break
        cursor.close()
        return entries

    async def count_readings(self, after_seq: int, up_to_seq: int) -> dict[int, int]:
        """Return how many readings the frames after `after_seq` up to `up_to_seq` hold, per kind number."""

        def count() -> dict[int, int]:
            rows = self._reader.execute(sql("journal", "readings_count"), (after_seq, up_to_seq))
            return {int(kind): total for kind, total in rows}

        return await self._in(self._read_thread, count)

    async def prune(self, up_to_seq: int) -> None:
        """Remove the frames up to `up_to_seq`: committed, and past the dedupe window."""
        removed = _PRUNE_ROWS
        while removed == _PRUNE_ROWS:
            removed, size = await self._in(self._write_thread, lambda: self._prune(up_to_seq))
            self.bytes -= size
            self.pruned_bytes += size
            self.oldest_seq += removed

    def _prune(self, up_to_seq: int) -> tuple[int, int]:
        rows = self._writer.execute(sql("journal", "frame_oldest"), (up_to_seq, _PRUNE_ROWS)).fetchall()
        if rows:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute(sql("journal", "frame_delete"), (rows[-1][0],))
            self._writer.execute(sql("journal", "meta_write"), ("pruned_seq", str(rows[-1][0])))
            if self._pruned is not None:  # so that the journal can be laid beside the books for its whole life
                for _, _, readings, duplicates in rows:
                    self._pruned.add_frames(readings, duplicates)
                self._writer.execute(sql("journal", "meta_write"), ("pruned_counts", self._pruned.encode()))
            self._writer.execute("COMMIT")
        return len(rows), sum(size for _, size, _, _ in rows)

    async def give_back(self) -> None:
        """Shorten the file by what was free for long, in steps that hold up no group for long.

        To be called after each round of pruning, whether it removed anything or not.
        """
        surplus = self._spare.look(await self._in(self._write_thread, lambda: free_pages(self._writer)))
        for _ in range(_GIVE_BACK_STEPS):
            if not (pages := min(surplus, _GIVE_BACK_PAGES)):
                return
            await self._in(self._write_thread, functools.partial(cut_off, self._writer, pages))
            self._spare.gave_back(pages)
            surplus -= pages
            self._copy_back_if_due(pages * PAGE_BYTES)

    async def note(self, key: str, value: str) -> None:
        """Keep a fact about the journal in its `meta` table."""

        def write() -> None:
            self._writer.execute(sql("journal", "meta_write"), (key, value))

        await self._in(self._write_thread, write)

    async def facts(self) -> dict[str, str]:
        """Return the `meta` table."""
        return await self._in(self._write_thread, lambda: dict(self._writer.execute(sql("journal", "meta_read"))))

    @property
    def folder(self) -> Path:
        return self._path.parent

    async def close(self) -> None:
        """Close both handles. A broken journal is left as it is, for the next process to recover."""
        if not self.broken:
            await self._in(self._read_thread, self._reader.close)
            await self._in(self._write_thread, self._writer.close)
        self._read_thread.shutdown(wait=False)
        self._write_thread.shutdown(wait=False)

    def _copy_back_if_due(self, size: int) -> None:
        """Move the WAL's content into the file from the reading thread, where its syncs hold up no acknowledgement."""
        self._uncopied_bytes += size  # of the WAL, which is written in whole pages
        running = self._copying_back is not None and not self._copying_back.done()
        if self._uncopied_bytes > _COPY_BACK_BYTES and not running and not self._wal_is_long:  # the next append copies
            self._uncopied_bytes = 0
            self._copying_back = asyncio.ensure_future(self._in(self._read_thread, self._copy_back))
            self._copying_back.add_done_callback(self._copied_back)

    def _copy_back(self) -> int:
        _, pages, _ = self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(pages)

    def _copied_back(self, future: "asyncio.Future[int]") -> None:
        # An error is kept in `broken`, and the next use of the journal raises it.
        if not future.cancelled() and future.exception() is None:
            self._wal_is_long = future.result() > _WAL_PAGES_MAX

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        if self.broken:
            raise JournalError(f"{self._path} failed before and must be opened again")
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except (sqlite3.Error, OSError) as error:
            self.broken = True
            raise JournalError(f"{self._path}: {error}") from error
