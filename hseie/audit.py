"""The audit: proves that what was acknowledged is where it should be, while the node runs, or without one.

The order of reading is what makes it exact. First a snapshot of PostgreSQL: checkpoints and books. Then the journals,
which have everything durable before any of it is flushed, and forget only what is committed. Then, in the same
snapshot, the tables. So whatever a running node does meanwhile is after the checkpoints, in no table, and counted as in
flight.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from hseie.balance import compare, overtaken
from hseie.books import Audit, Book, Checkpoint, DayBook, Journals, Kept, Tables
from hseie.config import Config
from hseie.database import statement
from hseie.errors import JournalError
from hseie.journal_file import journal_files, journal_name, read_journal
from hseie.readings import KINDS, Kind

_ATTEMPTS = 4  # a journal is pruned every few seconds, and it takes milliseconds to read the two sides
_PAUSE_S = 0.1

Look = Callable[[Mapping[str, int]], Journals]
"""Reads the journals beside the checkpoints (journal id to sequence). Called in a thread."""


def first_day(days: int | None, now: datetime) -> date | None:
    """Return the first of the last `days` UTC days at the aware moment `now`; None for all."""
    return None if days is None else now.date() - timedelta(days=days - 1)


def journals_of(config: Config) -> Look:
    """Return what reads the journals of a node's data folder."""
    folder = config.data_dir / "journal"
    return lambda committed_seqs: read_journals(folder, config.writer.shards, committed_seqs)


def read_journals(folder: Path, shards: int, committed_seqs: Mapping[str, int]) -> Journals:
    """Read all journals of a folder; those of `shards` shards should be there."""
    files, unreadable = [], []
    paths = journal_files(folder)
    for path in paths:
        try:
            files.append(read_journal(path, committed_seqs))
        except JournalError as error:
            unreadable.append(str(error))
    names = {path.name for path in paths}
    missing = [
        f"the journal of shard {shard} of {shards} is not in {folder}"
        for shard in range(shards)
        if journal_name(shard, shards) not in names
    ]
    return Journals(tuple(files), tuple(unreadable), tuple(missing))


async def audit(connection: Any, look: Look, from_day: date | None = None) -> Audit:
    """Audit a database and the journals that `look` finds. Reads history from a UTC day on once, None: all of it.

    Changes nothing and holds up nobody. Raises what PostgreSQL raises.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        found = await _attempt(connection, look, from_day, last=attempt == _ATTEMPTS)
        if found is not None:
            return found
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("the last attempt always finds something")


async def _attempt(connection: Any, look: Look, from_day: date | None, *, last: bool) -> Audit | None:
    """Audit once; None where a journal was pruned past the checkpoint that was read before, unless it is the last."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for kind in KINDS:
            await connection.execute(statement("audit_hold", kind))
        rows = await connection.fetch(statement("audit_checkpoints"))
        checkpoints = tuple(Checkpoint(**row) for row in rows)
        books = tuple(Book(**row) for row in await connection.fetch(statement("audit_books")))
        journals = await asyncio.to_thread(look, {point.journal_id: point.last_seq for point in checkpoints})
        if not last and overtaken(checkpoints, journals):
            return None
        day_books = tuple(DayBook(**row) for row in await connection.fetch(statement("audit_day_books")))
        letters = await connection.fetch(statement("audit_dead_letters"))
        dead_letters = {(row["journal_id"], row["kind"]): row["parked"] for row in letters}
        archived_rows = await connection.fetch(statement("audit_archived"), from_day or date.min)
        archived = {(row["kind"], row["day"]): row["readings"] for row in archived_rows}
        history: dict[tuple[str, date], int] = {}
        tables = {}
        for kind in KINDS:
            days, tables[kind.name] = await _tables(connection, kind, from_day, dead_letters)
            history |= {(kind.name, day): count for day, count in days.items()}
    return compare(Kept(checkpoints, books, day_books, dead_letters, history, tables, from_day, archived), journals)


async def _tables(
    connection: Any, kind: Kind, from_day: date | None, dead_letters: Mapping[tuple[str, str], int]
) -> tuple[dict[date, int], Tables]:
    since = from_day or date.min  # which PostgreSQL is told as -infinity
    days = {row["day"]: row["readings"] for row in await connection.fetch(statement("audit_history", kind), since)}
    devices = await connection.fetchrow(statement("audit_devices", kind), since)
    current = await connection.fetchrow(statement("audit_current", kind), since)
    tables = Tables(
        history=sum(days.values()),
        devices=devices["devices"],
        dead_letters=sum(count for (_, name), count in dead_letters.items() if name == kind.name),
        current_differs=current["devices"],
        differing_example=current["example"],
        without_current=devices["without_current"],
    )
    return days, tables
