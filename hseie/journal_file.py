"""A look at the file of a journal from outside: any process may take it, while a writer works on the file or not.

Nothing is created, changed or locked. A file whose writer runs, or was killed, is read through its WAL; one that was
closed in order has none, and is read as it stands. One SQLite transaction sees all of it at one moment, so that what
is counted belongs together. It takes about a microsecond a frame; for as long as a transaction lasts the WAL grows on,
and a writer that begins waits with opening the file. Comparing checksums may take minutes, and is done in short ones.
"""

import re
import sqlite3
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgpack
import orjson

from hseie.errors import JournalError
from hseie.resources import sql

_BUSY_TIMEOUT_S = 5.0  # while another process recovers the WAL
_CACHE_KIB = 8192
_ROWS_AT_ONCE = 1000
_FRAMES_CHECKED_AT_ONCE = 200  # in one transaction; and not many more bytes than this
_BYTES_CHECKED_AT_ONCE = 32 << 20
_NAME = re.compile(r"shard-(\d+)-of-(\d+)\.sqlite", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counts:
    """Readings of some frames, and how many of them were exact re-sends, by kind number."""

    readings: Counter[int] = field(default_factory=Counter)
    duplicates: Counter[int] = field(default_factory=Counter)

    def add_frames(self, readings: str, duplicates: bytes | None, frames: int = 1) -> None:
        """Add frames that are alike in their columns of these names."""
        for kind, count in orjson.loads(readings).items():
            self.readings[int(kind)] += frames * count
        if duplicates:
            for kind, indexes in msgpack.unpackb(duplicates, strict_map_key=False).items():
                self.duplicates[kind] += frames * len(indexes)

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum of both."""
        return Counts(self.readings + other.readings, self.duplicates + other.duplicates)

    def encode(self) -> str:
        """Return the text that stands in the journal's `meta` table: readings and re-sends by kind number."""
        return orjson.dumps(
            {str(kind): [count, self.duplicates[kind]] for kind, count in sorted(self.readings.items())}
        ).decode()

    @classmethod
    def decode(cls, text: str) -> "Counts":
        """Return what `encode` made a text of."""
        counts = cls()
        for kind, (readings, duplicates) in orjson.loads(text).items():
            counts.readings[int(kind)] = readings
            counts.duplicates[int(kind)] = duplicates
        return counts


def pruned_counts(meta: Mapping[str, str]) -> Counts | None:
    """Return what a journal has forgotten, by its `meta` table; None where it was pruned before that was counted."""
    if "pruned_counts" in meta:
        return Counts.decode(meta["pruned_counts"])
    return None if "pruned_seq" in meta else Counts()


def frame_crc(body: bytes, readings: str, duplicates: bytes | None) -> int:
    """Return the CRC-32 that stands beside a frame."""
    return zlib.crc32(duplicates or b"", zlib.crc32(readings.encode(), zlib.crc32(body)))


@dataclass(frozen=True)
class JournalFile:
    """What a journal is and holds, at one moment.

    `last_seq` is its newest frame ever, `pruned_seq` the newest that it has forgotten (before the first one if none
    is). `pruned` counts what was forgotten, None where that is not known; `committed` and `waiting` the frames up to
    and after the checkpoint it was read beside (without one, all are waiting). `damage` says what is wrong, if anything
    is; the counts are then of what is still there.
    """

    path: Path
    journal_id: str
    shard: int
    shards: int
    first_seq: int
    last_seq: int
    pruned_seq: int
    frames: int
    frame_bytes: int
    disk_bytes: int
    drained: bool
    owners: tuple[str, ...]
    pruned: Counts | None
    committed: Counts
    waiting: Counts
    waiting_frames: int
    damage: tuple[str, ...]


def journal_name(shard: int, shards: int) -> str:
    """Return the name of a shard's file. The number of shards is part of it: another number, other journals."""
    return f"shard-{shard:04d}-of-{shards:04d}.sqlite"


def shard_in(path: Path) -> tuple[int, int]:
    """Return the shard and the number of shards that a journal's name tells. Raises JournalError for another name."""
    match = _NAME.fullmatch(path.name)
    if match is not None:
        shard, shards = int(match[1]), int(match[2])
        if path.name == journal_name(shard, shards):
            return shard, shards
    raise JournalError(f"{path} is no journal's name; move it out of this folder (a copy is kept elsewhere)")


def journal_files(folder: Path) -> list[Path]:
    """Return the journals of a folder, by name; none where there is no folder.

    With what only looks like one by its name, as a copy does: whoever uses it says so (`shard_in`), since a journal
    that was renamed may hold what PostgreSQL has not.
    """
    return sorted(folder.glob("shard-*-of-*.sqlite"))


def read_journal(path: Path, committed_seqs: Mapping[str, int], *, check_frames: bool = False) -> JournalFile:
    """Read a journal beside the checkpoints, journal id to sequence; `check_frames` compares every checksum too.

    Raises JournalError for a file that is missing, or no journal (by its name or its content), or too damaged to be
    read.
    """
    shard_in(path)
    if not path.is_file():
        raise JournalError(f"{path}: there is no such file")

    def read(database: sqlite3.Connection) -> JournalFile:
        found = _read(path, database, committed_seqs)
        if not check_frames:
            return found
        database.execute("COMMIT")
        return replace(found, damage=(*found.damage, *_damaged_frames(database, found)))

    try:
        return _read_whole(path, read)
    except (sqlite3.Error, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
        raise JournalError(f"{path} cannot be read as a journal: {error}") from error


def read_id(path: Path) -> uuid.UUID | None:
    """Return the id of a journal; None for one that its writer is just making, which is not disturbed in that.

    Raises FileNotFoundError, and JournalError for a file that is no journal.
    """
    if not path.stat().st_size:
        return None
    try:
        meta = _read_whole(path, lambda database: dict(database.execute(sql("journal", "meta_read"))))
        return uuid.UUID(meta["journal_id"]) if meta else None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise JournalError(f"{path} cannot be read as a journal: {error}") from error
    except (sqlite3.Error, ValueError, KeyError) as error:
        raise JournalError(f"{path} cannot be read as a journal: {error}") from error


def _read_whole(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    wal = path.with_name(f"{path.name}-wal")
    if not wal.exists():
        # Closed in order. Opened otherwise, SQLite would make the files of a WAL, which might not be the writer's own.
        try:
            found = _with_connection(path, "immutable=1", work)
        except sqlite3.Error:
            if not wal.exists():
                raise
        else:
            if not wal.exists():
                return found
        # A writer has begun to work on it meanwhile.
    return _with_connection(path, "mode=ro", work)


def _with_connection(path: Path, how: str, work: Callable[[sqlite3.Connection], T]) -> T:
    address = f"file:{quote(str(path.absolute()))}?{how}"
    database = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
    try:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("BEGIN")
        return work(database)
    finally:
        database.close()


def _read(path: Path, database: sqlite3.Connection, committed_seqs: Mapping[str, int]) -> JournalFile:
    meta = dict(database.execute(sql("journal", "meta_read")))
    if "journal_id" not in meta:
        raise JournalError(f"{path} names no journal: the writer that was making it did not come to the end")
    journal_id = str(uuid.UUID(meta["journal_id"]))
    first_seq = int(meta["first_seq"])
    pruned_seq = int(meta.get("pruned_seq", first_seq - 1))
    committed_seq = committed_seqs.get(journal_id, 0)
    _, newest, frame_bytes = database.execute(sql("journal", "frame_extent")).fetchone()
    frames, committed, waiting = _count(database, committed_seq)
    shard, shards = int(meta["shard"]), int(meta["shards"])
    damage = []
    if path.name != journal_name(shard, shards):
        damage.append(f"it is the journal of shard {shard} of {shards}; was it renamed?")
    if frames.total() != (newest or pruned_seq) - pruned_seq:
        gaps = database.execute(sql("journal", "frame_gaps"), (pruned_seq,))
        damage += [f"the frames {first} to {last} are missing" for first, last in gaps]
    return JournalFile(
        path=path,
        journal_id=journal_id,
        shard=shard,
        shards=shards,
        first_seq=first_seq,
        last_seq=max(newest or 0, pruned_seq),
        pruned_seq=pruned_seq,
        frames=frames.total(),
        frame_bytes=frame_bytes,
        disk_bytes=_disk_bytes(path),
        drained=bool(meta.get("drained_at")),
        owners=tuple(orjson.loads(meta.get("owners", "[]"))),
        pruned=pruned_counts(meta),
        committed=committed,
        waiting=waiting,
        waiting_frames=frames[True],
        damage=tuple(damage),
    )


def _count(database: sqlite3.Connection, committed_seq: int) -> tuple[Counter[bool], Counts, Counts]:
    """Return the number of frames that wait or not, and the counts of the committed ones and of those that wait."""
    frames: Counter[bool] = Counter()
    committed, waiting = Counts(), Counts()
    rows = database.execute(sql("journal", "frame_counts"), (committed_seq,))
    # Most frames are alike, and there may be millions: what is the same is counted before it is looked into.
    while alike := Counter(islice(rows, _ROWS_AT_ONCE)):
        for (waits, readings, duplicates), count in alike.items():
            frames[bool(waits)] += count
            (waiting if waits else committed).add_frames(readings, duplicates, count)
    return frames, committed, waiting


def _damaged_frames(database: sqlite3.Connection, found: JournalFile) -> list[str]:
    damage: list[str] = []
    before, seq = -1, found.first_seq - 1
    while seq != before:
        before, size = seq, 0
        rows = database.execute(sql("journal", "frame_read"), (before, found.last_seq))
        for seq, body, readings, duplicates, crc in islice(rows, _FRAMES_CHECKED_AT_ONCE):
            if crc != frame_crc(body, readings, duplicates):
                damage.append(f"frame {seq} is damaged (its CRC does not fit)")
            size += len(body)
            if size >= _BYTES_CHECKED_AT_ONCE:
                break
        rows.close()  # ends the transaction
    return damage


def _disk_bytes(path: Path) -> int:
    # With its WAL and the index of that; each may come and go while we look.
    size = 0
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        try:
            size += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return size
