"""The SQLite file of a journal: made, opened after whatever happened to its last process, and made smaller again."""

import contextlib
import sqlite3
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from hseie import clock
from hseie.durable import sync_folder
from hseie.errors import JournalError
from hseie.journal_file import Counts, pruned_counts
from hseie.resources import sql

PAGE_BYTES = 4096
_BUSY_TIMEOUT_S = 5.0  # while somebody reads the file, which takes milliseconds as a rule
_FREE_PAGES_KEPT = 16_384  # 64 MiB, for the next rush
_LOOKS = 15  # what was free at so many looks in a row is not needed
_INCREMENTAL = 2  # value of auto_vacuum


@dataclass(frozen=True)
class Identity:
    """Which journal this is: made once with the file, kept for its life."""

    journal_id: uuid.UUID
    first_seq: int
    shard: int
    shards: int


@dataclass(frozen=True)
class Opened:
    """A file's two handles and what was found in it.

    `oldest_seq` is one past `last_seq` where there is no frame. `pruned` counts what was removed from it in all its
    life, None where it was pruned before that was counted.
    """

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    identity: Identity
    oldest_seq: int
    last_seq: int
    bytes: int
    pruned: Counts | None


def open_file(path: Path, shard: int, shards: int) -> Opened:
    """Open or make the file of a shard.

    Raises sqlite3.Error, OSError, and JournalError when it is another shard's, or somebody reads it all the time.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    writer = _connect(path)
    # After a failed sync the WAL may be whole in memory but not on disk. Its content is written anew before more
    # is appended behind it, or a power cut could cut off what is acknowledged from here on. A reader's transaction
    # prevents that; with nothing in the WAL there is nothing to prevent.
    busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        writer.close()
        raise JournalError(
            f"{path}: another process has been reading this journal for {_BUSY_TIMEOUT_S:g} s; it is opened when that "
            "one has finished (`fuser` names it)"
        )
    writer.executescript(f"BEGIN; {sql('journal', 'schema')} COMMIT;")
    meta = dict(writer.execute(sql("journal", "meta_read")))
    if not meta:
        meta = {
            "journal_id": str(uuid.uuid4()),
            "first_seq": str(int(clock.unix_s()) * 1_000_000),
            "shard": str(shard),
            "shards": str(shards),
        }
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany(sql("journal", "meta_write"), meta.items())
        writer.execute("COMMIT")
    identity = Identity(uuid.UUID(meta["journal_id"]), int(meta["first_seq"]), int(meta["shard"]), int(meta["shards"]))
    if (identity.shard, identity.shards) != (shard, shards):
        raise JournalError(f"{path} is the journal of shard {identity.shard} of {identity.shards}; was it renamed?")
    oldest, newest, size = writer.execute(sql("journal", "frame_extent")).fetchone()
    if oldest is None and not _can_shrink(writer):
        writer.execute("VACUUM")  # a file of an earlier version that is empty: its pages are arranged anew at no cost
    reader = _connect(path)
    for folder in (path.parent, *path.parent.parents[:2]):  # SQLite syncs its files, not the way there
        with contextlib.suppress(PermissionError):  # one that we may enter but not list is not ours
            sync_folder(folder)
    # After everything was pruned the file no longer holds its newest frame; the pruning left its number.
    last_seq = max(newest or 0, int(meta.get("pruned_seq", identity.first_seq - 1)))
    return Opened(writer, reader, identity, oldest or last_seq + 1, last_seq, size, pruned_counts(meta))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    if not _can_shrink(connection):  # where it can, this would write a page into the WAL
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything makes the first page
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA cache_size = -8192")
    return connection


def _can_shrink(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL)


def free_pages(connection: sqlite3.Connection) -> int:
    """Return how many pages the file could do without; 0 for one that cannot shrink."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0]) if _can_shrink(connection) else 0


def cut_off(connection: sqlite3.Connection, pages: int) -> None:
    """Move what lies in the last pages into free ones, and shorten the file by so many of them."""
    connection.executescript(f"PRAGMA incremental_vacuum({pages:d})")  # `execute` would stop after the first page


class SparePages:
    """Finds out which free pages are not needed: under steady load, pruning frees what the next frames take again."""

    def __init__(self) -> None:
        self._looks: deque[int] = deque(maxlen=_LOOKS)

    def look(self, free: int) -> int:
        """Note how many pages are free now; return how many may be given back."""
        self._looks.append(free)
        return max(0, min(self._looks) - _FREE_PAGES_KEPT) if len(self._looks) == _LOOKS else 0

    def gave_back(self, pages: int) -> None:
        """Note that so many of them are gone."""
        self._looks = deque((free - pages for free in self._looks), _LOOKS)
