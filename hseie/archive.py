"""Archived days: Parquet files that DuckDB reads and writes. The only importer of duckdb, which is an optional extra.

A file holds a kind's readings of one UTC day, or those of them that came later than the file before. Its rows are
sorted by device, time and id, so that a device's day lies in one row group or two and the rest is not read.

All work is done in one thread, one piece after the other, with bounded memory: a query of the archive stops no loop.
Nothing is loaded and no thread is started before the first piece.
"""

import asyncio
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hseie.config import Config
from hseie.database import Record, statement
from hseie.errors import ArchiveUnavailableError
from hseie.readings import Kind
from hseie.resources import sql

WAITING_MAX = 200  # pieces of work that wait for the thread; above it `ArchiveUnavailableError`
TEMPORARY_MEMORIES = 8  # what does not fit into memory may take so many times as much of the archive's disk

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALL = 2**62
_TEMPORARY = ".duckdb"  # a folder in the archive's, made where something does not fit into memory

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A row of `archive_part`, which says what the fields are (sql/migrations/0010_archive.sql)."""

    kind: str
    day: date
    part: int
    state: str
    file: str
    readings: int
    bytes: int = 0
    sums: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    booked: int = 0

    @classmethod
    def of(cls, row: Record) -> "Part":
        """Make one of a row of the statements `archive_parts`, which readers take, and `archive_all`."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if name in row.keys()})  # noqa: SIM118


async def parts_of(connection: Any, kind: Kind, from_day: date, until_day: date) -> list[Part]:
    """Return the parts in which queries find readings of the UTC days `from_day` to `until_day`, both included.

    Raises what PostgreSQL raises.
    """
    rows = await connection.fetch(statement("archive_parts"), kind.name, from_day, until_day)
    return [Part.of(row) for row in rows]


@dataclass
class _Piece:
    """One piece of work for the thread."""

    cancelled: bool = False


class Archive:
    """The files of one folder. Make and use it in one loop; `close` it in the end."""

    def __init__(self, folder: Path, memory_mb: int) -> None:
        self.folder = folder
        self._memory_mb = memory_mb
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Any = None
        self._running: _Piece | None = None
        self._waiting = 0
        # Held where the piece that runs changes, or is interrupted, so that no other is hit.
        self._change = threading.Lock()

    @classmethod
    def of(cls, config: Config) -> "Archive":
        """Make the archive of a node. One a process, for it may take all of `retention.archive_memory_mb`."""
        return cls(config.archive_dir, config.retention.archive_memory_mb)

    @property
    def available(self) -> bool:
        """Whether DuckDB is installed. The first look loads it, which takes some tenths of a second."""
        return _duckdb() is not None

    async def readings(
        self,
        parts: Sequence[Part],
        kind: Kind,
        devices: Sequence[str],
        start: datetime,
        end: datetime,
        *,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[tuple[Any, ...]]:
        """Return what the parts hold of some devices in [start, end): (device, timestamp, id, values as Decimal ...).

        In the order of device, timestamp and id, all three reversed with `newest_first`; the first `limit` of them.
        Corrections and the rows that they correct are both among them. Raises ArchiveUnavailableError.
        """
        if not parts or not devices:
            return []
        text = _fill("readings", kind, order="DESC" if newest_first else "ASC")
        values = {
            "devices": list(devices),
            "first_device": min(devices),
            "last_device": max(devices),
            "start": microseconds(start),
            "end": microseconds(end),
        }
        by_day = sorted(parts, key=lambda part: part.day, reverse=newest_first)
        # A device's days follow each other, so with a limit the later ones are often not needed.
        if limit is not None and len(devices) == 1:
            groups = [list(group) for _, group in itertools.groupby(by_day, key=lambda part: part.day)]
        else:
            groups = [by_day]

        def read(connection: Any, piece: _Piece) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = []
            for group in groups:
                left = _ALL if limit is None else limit - len(found)
                if left <= 0 or piece.cancelled:
                    break
                wanted = {**values, "files": self._paths(group), "limit": left}
                rows = connection.execute(text, wanted).fetchall()
                found += [(device, _EPOCH + timedelta(microseconds=us), *rest) for device, us, *rest in rows]
            return found

        return await self._in_thread(read)

    async def fetch(self, name: str, kind: Kind, **values: Any) -> list[tuple[Any, ...]]:
        """Run `sql/archive/<name>.sql` for a kind and return its rows. Raises ArchiveUnavailableError."""
        text = _fill(name, kind)
        return await self._in_thread(lambda connection, _: list(connection.execute(text, values).fetchall()))

    async def write(self, kind: Kind, source: Path, target: Path) -> None:
        """Make a file, `target`, of the lines of `archive_export`, which come from a file or pipe.

        Does not sync it. Raises ArchiveUnavailableError.
        """
        text = _fill("write", kind, source=_quoted(source), target=_quoted(target))
        await self._in_thread(lambda connection, _: connection.execute(text))

    async def read_back(self, kind: Kind, source: Path, target: Path) -> None:
        """Write the rows of a file, `source`, to a file or pipe, as lines of COPY text: id, created_at, timestamp ...

        Raises ArchiveUnavailableError.
        """
        text = _fill("read_back", kind, source=_quoted(source), target=_quoted(target))
        await self._in_thread(lambda connection, _: connection.execute(text))

    async def close(self) -> None:
        """Interrupt what runs and let go of everything."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._change:
            if self._connection is not None and self._running is not None:
                self._running.cancelled = True
                self._connection.interrupt()
        thread.submit(self._disconnect)
        await asyncio.to_thread(thread.shutdown)

    def _paths(self, parts: Sequence[Part]) -> list[str]:
        return [str(self._checked(part)) for part in parts]

    def _checked(self, part: Part) -> Path:
        """Return the path of a part that looks like what was written: another file would answer with its own readings.

        Errors name the file as the archive does, because they are told to clients.
        """
        path = self.folder / part.file
        if not path.is_file():
            raise ArchiveUnavailableError(f"the archived file {part.file} is missing")
        if part.bytes and path.stat().st_size != part.bytes:
            raise ArchiveUnavailableError(
                f"{part.file} is not the file that was archived; `hseie archive verify` tells more"
            )
        return path

    async def _in_thread(self, work: Callable[[Any, _Piece], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise ArchiveUnavailableError("too many queries wait for the archive")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        piece = _Piece()
        self._waiting += 1
        doing = asyncio.get_running_loop().run_in_executor(self._thread, self._do, work, piece)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            self._interrupt(piece)
            doing.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it any more
            raise
        finally:
            self._waiting -= 1

    def _interrupt(self, piece: _Piece) -> None:
        with self._change:
            piece.cancelled = True
            if self._running is piece and self._connection is not None:
                self._connection.interrupt()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _do(self, work: Callable[[Any, _Piece], T], piece: _Piece) -> T:
        duckdb = _duckdb()
        if duckdb is None:
            raise ArchiveUnavailableError("DuckDB, which reads archived days, is not installed: the extra `archive`")
        with self._change:
            if piece.cancelled:
                raise ArchiveUnavailableError("cancelled")
            self._running = piece
        try:
            if self._connection is None:
                self._connection = self._connect(duckdb)
            return work(self._connection, piece)
        except (duckdb.Error, OSError) as error:
            # What it says first is enough; the rest repeats the statement.
            reason = str(error).partition("\n")[0]
            reason = reason.replace(f"{self.folder}/", "")
            raise ArchiveUnavailableError(f"the archive: {reason}; `hseie archive verify` tells more") from error
        finally:
            with self._change:
                self._running = None

    def _connect(self, duckdb: Any) -> Any:
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": f"{self._memory_mb}MB",
                "temp_directory": str(self.folder / _TEMPORARY),
                # It would fetch what it lacks from the network.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        connection.execute(sql("archive", "session").format(temporary_mb=TEMPORARY_MEMORIES * self._memory_mb))
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@functools.cache
def _duckdb() -> Any:
    """Return the module, or None where it is not installed or does not load."""
    try:
        import duckdb
    except ImportError:
        return None
    return duckdb


def _fill(name: str, kind: Kind, **more: str) -> str:
    """Return `sql/archive/<name>.sql` with the names of a kind filled in.

    They are: id, values, and per value `declared` (its name and type) and `sums` (its sum as text).
    """
    columns = [field.column for field in kind.fields]
    types = [f"DECIMAL({field.precision}, {field.scale})" for field in kind.fields]
    return sql("archive", name).format(
        id=kind.id_column,
        values=", ".join(columns),
        declared=", ".join(f"'{column}': '{type_}'" for column, type_ in zip(columns, types, strict=True)),
        sums=", ".join(f"CAST(coalesce(sum({column}), 0) AS VARCHAR)" for column in columns),
        **more,
    )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def microseconds(moment: datetime) -> int:
    """Return an aware moment as microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
