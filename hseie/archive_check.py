"""Archived files beside what archive_part says of them: sizes, digests, counts and sums."""

import asyncio
from datetime import date
from typing import Any

import orjson

from hseie import archive_files
from hseie.archive import Archive, Part
from hseie.archive_export import Content, content
from hseie.database import statement
from hseie.errors import ArchiveUnavailableError
from hseie.readings import KIND_BY_NAME


async def all_parts(connection: Any, from_day: date, until_day: date) -> list[Part]:
    """Return all parts of the days from `from_day` to `until_day`, the dropped and restored ones too."""
    rows = await connection.fetch(statement("archive_all"), from_day, until_day)
    return [Part.of({**row, "sums": orjson.loads(row["sums"])}) for row in rows]


async def verify(archive: Archive, part: Part) -> str:
    """Read a part's file again; return what is wrong with it, nothing where all is well.

    Without DuckDB its size and digest alone are compared. Waits for the archive's other work.
    """
    found = await asyncio.to_thread(archive_files.damage, archive.folder, part.file, part.bytes, part.sha256)
    if found or not archive.available:
        return found
    path = archive.folder / part.file
    try:
        held = await content(archive, KIND_BY_NAME[part.kind], part.day, path)
    except ArchiveUnavailableError as error:
        return str(error)
    noted = Content(part.readings, part.sums)
    return "" if held == noted else f"{path} holds {held}, and {noted} was noted"
