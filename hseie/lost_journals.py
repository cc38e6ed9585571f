"""Journals that a database knows and this node's folder does not hold.

A node that begins a new journal beside such a one either shares its database with another node, or has lost its folder;
neither may pass unnoticed. A journal that was retired counts as neither.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from hseie.database import statement
from hseie.errors import JournalError
from hseie.journal_file import journal_files, read_id

_NAMED_MAX = 3


@dataclass(frozen=True)
class LostJournal:
    """A journal's row in PostgreSQL: `last_seq` is the newest frame it has stored, `updated_at` when."""

    journal_id: UUID
    shard: int
    shards: int
    last_seq: int
    updated_at: datetime

    def __str__(self) -> str:
        until = f"{self.updated_at:%Y-%m-%dT%H:%M:%SZ}"
        return (
            f"journal {self.journal_id} of shard {self.shard} of {self.shards} (until {until}, frame {self.last_seq})"
        )


def ids_in(folder: Path) -> set[UUID]:
    """Return the ids of the journals in a folder. Raises JournalError for a file that cannot be read."""
    found = set()
    for path in journal_files(folder):
        try:
            journal_id = read_id(path)
        except (FileNotFoundError, JournalError):
            if path.exists():
                raise
            continue  # a neighbour has removed it meanwhile
        if journal_id is not None:
            found.add(journal_id)
    return found


async def find_lost(connection: Any, folder: Path) -> list[LostJournal]:
    """Return the journals that are not retired and not in `folder`, the latest writer first. Raises JournalError."""
    known = [LostJournal(**row) for row in await connection.fetch(statement("journal_unretired"))]
    if not known:
        return []
    # After PostgreSQL was asked: what a neighbour of ours has claimed by then has its file by now.
    here = await asyncio.to_thread(ids_in, folder)
    return [journal for journal in known if journal.journal_id not in here]


def describe(lost: Sequence[LostJournal], folder: Path) -> str:
    """Return what there is to say about lost journals, for the operator who has to tell the two cases apart."""
    named = ", ".join(str(journal) for journal in lost[:_NAMED_MAX])
    more = f" and {len(lost) - _NAMED_MAX} more" if len(lost) > _NAMED_MAX else ""
    is_or_are = "are" if len(lost) > 1 else "is"
    return (
        f"this database was written by {named}{more}, which {is_or_are} not in {folder}: either another node works on "
        "this database (give this one a database of its own), or the folder was moved or wiped (bring it back: it may "
        "hold acknowledged readings that are not in PostgreSQL; if it is lost for good: `hseie journal retire`, or one "
        "start with HSEIE_WRITER__LOST_JOURNAL=replace)"
    )


async def retire(connection: Any, journal_ids: Sequence[UUID], reason: Literal["drained", "lost"]) -> list[UUID]:
    """Retire journals; return those that were not retired before. Whoever still writes one of them is fenced."""
    rows = await connection.fetch(statement("journal_retire"), list(journal_ids), reason)
    return [row["journal_id"] for row in rows]


async def unretire(connection: Any, journal_id: UUID) -> bool:
    """Let a journal that was given up for lost be used again; False where it was not."""
    return await connection.fetchval(statement("journal_unretire"), journal_id) is not None
