"""Dead letters: readings that PostgreSQL refused. Read them, store them after all, or give them up.

A dead letter has the id that its row would have had in history, so that a retry puts it where it belongs among its
device's readings. Whatever is done here keeps flushes out for its short transaction and moves the books with the rows.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from hseie import database, late_readings
from hseie.archive import Archive, Part, parts_of
from hseie.database import Failure, classify, statement
from hseie.errors import ArchiveUnavailableError
from hseie.readings import KIND_BY_NAME, Kind

_ATTEMPTS = 5  # at a lock that somebody holds; each waits for the session's lock_timeout
_PAUSE_S = 0.2


class _SwallowedError(Exception):
    """PostgreSQL took a row and did not store it."""


class _MovedError(Exception):
    """What has left history of a day is not what it was a moment ago."""


@dataclass(frozen=True)
class DeadLetter:
    """One refused reading: `original` is its line of COPY text, `reading_id` its id in history to be."""

    id: int
    journal_id: str
    kind: str
    original: str
    sqlstate: str
    reason: str
    created_at: datetime
    reading_id: int

    @property
    def reading(self) -> dict[str, Any] | None:
        """The reading as it goes on the wire; None where the original is no line of its kind."""
        kind = KIND_BY_NAME.get(self.kind)
        texts = self.original.split("\t")
        if kind is None or len(texts) != len(kind.columns) or "\n" in self.original:
            return None
        try:
            values = [float(text) for text in texts[2:]]
            date.fromisoformat(texts[1][:10])
        except ValueError:
            return None
        return dict(zip(kind.wire_fields, (texts[0], f"{texts[1]}Z", *values), strict=True))

    @property
    def device(self) -> str:
        return self.original.partition("\t")[0]

    @property
    def timestamp(self) -> str:
        """The reading's time, RFC 3339; empty where the original has none."""
        reading = self.reading
        return str(reading["timestamp"]) if reading else ""


async def find(connection: Any, kind: str | None, sqlstate: str | None, limit: int | None) -> list[DeadLetter]:
    """Return the dead letters, newest first; None means any, and all."""
    return [DeadLetter(**row) for row in await connection.fetch(statement("dead_letter_list"), kind, sqlstate, limit)]


async def read(connection: Any, dead_letter_id: int) -> DeadLetter | None:
    row = await connection.fetchrow(statement("dead_letter_read"), dead_letter_id)
    return None if row is None else DeadLetter(**row)


async def retry(connection: Any, dead_letter_id: int, archive: Archive) -> str:
    """Store a dead letter; return an empty text, or why it stays one. Raises what a lost connection raises.

    Waits for flushes as long as the session's lock_timeout, some times over. The archive is read where a correction of
    the reading may have left history.
    """
    letter = await read(connection, dead_letter_id)
    if letter is None:
        return "there is no such dead letter"
    if letter.reading is None:
        return f"its original is not a line of kind {letter.kind}; it can only be dropped"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            kind = KIND_BY_NAME[letter.kind]
            return await _store(connection, letter, kind, await _left_history(connection, letter, kind, archive))
        except _SwallowedError as error:
            return str(error)
        except ArchiveUnavailableError as error:
            return f"a correction of it may be archived, and that cannot be read: {error}"
        except _MovedError:
            if attempt == _ATTEMPTS:
                return "its day is leaving history; try again later"
        except database.PostgresError as error:
            failure = classify(error)
            if failure is Failure.UNAVAILABLE:
                raise
            if failure not in (Failure.RETRY, Failure.NO_PARTITION):  # its old day may have left history just now
                await connection.execute(statement("dead_letter_refused"), letter.id, error.sqlstate or "", str(error))
                return str(error)
            if attempt == _ATTEMPTS:
                return f"{error}; try again later"
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("the last attempt returns")


@dataclass(frozen=True)
class _Left:
    """What has left history of the day of a letter, and whether the letter is newer than all that has of its time."""

    parts: list[Part]
    is_newer: bool


async def _left_history(connection: Any, letter: DeadLetter, kind: Kind, archive: Archive) -> _Left:
    """Look at what history cannot say. Before the transaction: reading a file may take its time, and flushes wait."""
    time = datetime.fromisoformat(letter.timestamp)
    parts = await parts_of(connection, kind, time.date(), time.date())
    rival = await connection.fetchrow(statement("dead_letter_rival", kind), letter.device, time)
    if rival is None:
        return _Left(parts, is_newer=True)
    end = time + timedelta(microseconds=1)
    ids = [row[2] for row in await archive.readings(parts, kind, [letter.device], time, end)]
    if rival["given_up"] is not None:
        ids.append(rival["given_up"])
    # Of a day that was given up before its last readings were kept nobody knows: what is, stays.
    is_known = bool(ids) or not rival["dropped"]
    return _Left(parts, is_newer=is_known and all(id_ < letter.reading_id for id_ in ids))


async def _store(connection: Any, letter: DeadLetter, kind: Kind, left: _Left) -> str:
    device, time = letter.original.split("\t")[:2]
    # Before the transaction: making a partition may wait, and flushes with it.
    day = date.fromisoformat(time[:10])
    await connection.fetchval(statement("make_partition"), kind.name, day)
    async with connection.transaction():
        await _keep_flushes_out(connection)
        await late_readings.keep_open(connection)
        if await connection.fetchval(statement("dead_letter_take"), letter.id) is None:
            return "somebody else has taken it meanwhile"
        row = f"{letter.reading_id}\t{letter.original}\n".encode()
        stored = await database.copy_rows(connection, f"{kind.name}_history", ("id", *kind.columns), [row])
        if stored != 1:
            raise _SwallowedError("PostgreSQL stored nothing, without an error; does a trigger or a rule drop rows?")
        if await parts_of(connection, kind, day, day) != left.parts:
            raise _MovedError
        late = await late_readings.late_until(connection)
        await late_readings.mark(connection, [(kind, [letter.original.encode()])], late)
        await connection.execute(statement("dead_letter_current", kind), device, letter.reading_id, left.is_newer)
        await connection.execute(statement("dead_letter_books"), UUID(letter.journal_id), kind.name, day)
    return ""


async def _keep_flushes_out(connection: Any) -> None:
    """Let no flush begin until the end of this transaction."""
    # A journal that is not claimed yet has no row to lock, so its claim is kept out, and before the rows are locked: a
    # claim holds at that point no row but that of a retired journal, which is not among them.
    await connection.execute(statement("checkpoint_claim_lock"))
    await connection.execute(statement("checkpoint_lock"))


async def drop(connection: Any, dead_letter_ids: Sequence[int]) -> int:
    """Delete dead letters for good; return how many there were. The books go on counting them as dead-lettered."""
    async with connection.transaction():
        await _keep_flushes_out(connection)
        return int(await connection.fetchval(statement("dead_letter_drop"), list(dead_letter_ids)))
