"""Archived days back into history, with their ids and their created_at, in one transaction a kind and day.

Rows that are in history are not in the day books again: those count what was stored once. Nor are they marked: the
rollups have them.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import orjson

from hseie import archive_files, failpoints
from hseie.archive import Archive, Part
from hseie.archive_pipe import Pipe, run_both, transaction
from hseie.database import statement
from hseie.errors import ArchiveUnavailableError
from hseie.readings import Kind

LOCK_PAUSE_S = 1.0


async def hold_archive(connection: Any, patience_s: float) -> None:
    """Be the only one who changes the archive, as long as this connection lasts.

    Raises ArchiveUnavailableError where somebody else, maintenance most likely, does so for longer than `patience_s`.
    """
    for _ in range(1 + round(patience_s / LOCK_PAUSE_S)):
        if await connection.fetchval(statement("archive_lock")):
            return
        await asyncio.sleep(LOCK_PAUSE_S)
    raise ArchiveUnavailableError("maintenance is archiving a day; try again when it is done")


async def restore(connection: Any, archive: Archive, kind: Kind, day: date, until: datetime) -> int:
    """Bring the readings of a day back into history until a moment; return how many there are from files.

    A day that is there already stays as it is, until then: 0. The caller holds the archive. Raises
    ArchiveUnavailableError, also for a day that has no files and for a damaged file, and what PostgreSQL raises.
    """
    await connection.fetchval(statement("make_partition"), kind.name, day)
    async with transaction(connection):
        rows = await connection.fetch(statement("archive_restorable"), kind.name, day)
        parts = [Part.of({**row, "sums": orjson.loads(row["sums"])}) for row in rows]
        if not parts:
            raise ArchiveUnavailableError(f"no file has {kind.name} readings of {day}")
        missing = [part for part in parts if part.state == "archived"]
        for part in missing:
            await _restore_part(connection, archive, kind, part)
        await connection.execute(statement("archive_restored"), kind.name, day, until)
    return sum(part.readings for part in missing)


async def _restore_part(connection: Any, archive: Archive, kind: Kind, part: Part) -> None:
    if found := await asyncio.to_thread(archive_files.damage, archive.folder, part.file, part.bytes, part.sha256):
        raise ArchiveUnavailableError(found)
    pipe = Pipe()
    stored = 0

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in pipe.received():
            failpoints.reach("archive.in_restore")
            yield piece

    async def copy() -> None:
        nonlocal stored
        columns = ("id", "created_at", "timestamp", kind.id_column, *(field.column for field in kind.fields))
        status = await connection.copy_to_table(f"{kind.name}_history", columns=columns, source=pieces(), format="text")
        stored = int(status.rsplit(" ", 1)[1])

    async def read() -> None:
        await archive.read_back(kind, archive.folder / part.file, pipe.target)
        pipe.close("target")

    await run_both(connection, pipe, read(), copy())
    if stored != part.readings:
        raise ArchiveUnavailableError(f"{part.file} gave {stored} readings instead of {part.readings}")
