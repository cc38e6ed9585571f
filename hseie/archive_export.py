"""A day of history into a file of the archive: streamed, synced, read back and compared before it is named.

All that PostgreSQL says of the day is said in one snapshot: how many readings, the exact sum of each column, what the
day books have booked, and the rows themselves. The file has to say the same.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from hseie import archive_files, failpoints
from hseie.archive import Archive, microseconds
from hseie.archive_pipe import Pipe, run_both, transaction
from hseie.database import statement
from hseie.errors import ArchiveUnavailableError
from hseie.readings import Kind


@dataclass(frozen=True)
class Content:
    """What a day or a file holds: readings, and the exact sums of its columns as text (archive_count.sql)."""

    readings: int
    sums: dict[str, str]


@dataclass(frozen=True)
class Written:
    """A file that is complete, synced and verified. `booked`: what the day books said when its rows were read.

    `oldest` is the time of the first of them.
    """

    part: int
    file: str
    content: Content
    bytes: int
    sha256: str
    booked: int
    oldest: datetime


def bounds(day: date) -> tuple[datetime, datetime]:
    """Return the start and the end of a UTC day."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


async def export(connection: Any, archive: Archive, kind: Kind, day: date, parts: list[int]) -> Written | None:
    """Write all that history has of a day to the next part, `parts` being those there are; None where it has nothing.

    Whoever calls is the only one who changes the archive, has claimed its folder, and notes the part. Raises
    ArchiveUnavailableError, and what PostgreSQL raises.
    """
    with archive_files.told(archive.folder):
        part, fresh = await asyncio.to_thread(archive_files.begin, archive.folder, kind.name, day, parts)
    start, end = bounds(day)
    async with transaction(connection, isolation="repeatable_read", readonly=True):
        await connection.execute(statement("archive_work_mem"))
        row = await connection.fetchrow(statement("archive_count", kind), day, start, end)
        wanted = _content(kind, row["readings"], row["sums"])
        if not wanted.readings:
            return None
        await _stream(connection, archive, kind, day, fresh)
    failpoints.reach("archive.file_written")
    found = await content(archive, kind, day, fresh)
    if found != wanted:
        raise ArchiveUnavailableError(f"{fresh} does not hold what history does: {found} is not {wanted}")
    file = archive_files.file_of(kind.name, day, part)
    with archive_files.told(archive.folder):
        digest = await asyncio.to_thread(archive_files.sha256, fresh)
        size = fresh.stat().st_size
        await asyncio.to_thread(archive_files.keep, fresh, archive.folder / file)
    await connection.execute(statement("archive_not_named"), file, kind.name, day)
    failpoints.reach("archive.file_named")
    return Written(part, file, found, size, digest, row["booked"], row["oldest"])


async def content(archive: Archive, kind: Kind, day: date, path: Path) -> Content:
    """Read a whole file of a day. Raises ArchiveUnavailableError."""
    start, _ = bounds(day)
    [(readings, sums)] = await archive.fetch("check", kind, file=str(path), start=microseconds(start))
    return _content(kind, readings, sums)


async def _stream(connection: Any, archive: Archive, kind: Kind, day: date, target: Path) -> None:
    pipe = Pipe()

    async def output(piece: bytes) -> None:
        failpoints.reach("archive.in_copy")
        await pipe.send(piece)

    async def copy() -> None:
        await connection.copy_from_query(statement("archive_export", kind), *bounds(day), output=output, format="text")
        pipe.close("target")  # the end of the file, for who reads

    await run_both(connection, pipe, archive.write(kind, pipe.source, target), copy())


def _content(kind: Kind, readings: int, sums: list[str]) -> Content:
    columns = ("id", "created_after", "timestamp", *(field.column for field in kind.fields))
    return Content(readings, dict(zip(columns, sums, strict=True)))


async def note(connection: Any, kind: Kind, day: date, written: Written) -> None:
    """Note a part, in the place of those whose rows it has too. Queries read it from the commit on."""
    await connection.execute(
        statement("archive_note"),
        kind.name,
        day,
        written.part,
        written.file,
        written.content.readings,
        written.bytes,
        orjson.dumps(written.content.sums).decode(),
        written.sha256,
        written.booked,
        written.oldest,
    )
    failpoints.reach("archive.noted")
