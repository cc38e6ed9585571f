"""One flush: a batch, its checkpoint, its current states and its books in one transaction.

The checkpoint is moved first, on condition of epoch and previous sequence: its row lock keeps two owners apart, and a
writer that was replaced learns it before it has written anything.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from hseie import database, failpoints, late_readings
from hseie.database import Failure, classify, statement
from hseie.errors import FencedError
from hseie.late_readings import hour_of
from hseie.readings import KINDS, Kind
from hseie.writer.batch import Batch, KindBatch
from hseie.writer.refusals import SwallowedError, TooManyRefusedError

_ALL_REFUSED_MIN = 20  # lines: if every one of so many is refused, it is not for what they hold


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who flushes: a life of a journal."""

    journal_id: uuid.UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that PostgreSQL will not take, and why. `place` is its index among the batch's lines of its kind."""

    kind: int
    place: int
    line: bytes
    sqlstate: str
    reason: str


async def prepare(connection: Any) -> None:
    """Make a new connection ready to flush."""
    for kind in KINDS:
        await connection.execute(statement("changed_create", kind))


def retired_text(journal_id: uuid.UUID, retired_at: datetime) -> str:
    """Return why nothing may be stored from a retired journal, and what to do."""
    return (
        f"journal {journal_id} was retired at {retired_at:%Y-%m-%dT%H:%M:%SZ}: it was given up for lost, and another "
        "journal has taken its place in this database. Keep this file, it may hold acknowledged readings that are not "
        "in PostgreSQL, and see 'Fenced' in the runbook"
    )


async def make_partitions(connection: Any, batch: Batch) -> list[str]:
    """Make the days that a batch needs; return those that were missing, as words for the log."""
    made = []
    for number, day in batch.days():
        kind = KINDS[number].name
        if await connection.fetchval(statement("make_partition"), kind, date.fromisoformat(day)):
            made.append(f"{kind} {day}")
    return made


async def flush(connection: Any, batch: Batch, owner: Ownership, previous_seq: int) -> None:
    """Store a batch, all or nothing. Raises FencedError, and what PostgreSQL raises."""
    async with connection.transaction():
        await _move_checkpoint(connection, batch, owner, previous_seq)
        for kind, part in zip(KINDS, batch.kinds, strict=True):
            if part.pieces:
                stored = await database.copy_rows(connection, f"{kind.name}_history", kind.columns, part.pieces)
                _check_count(stored, part.received - part.duplicates)
            if part.changed:  # not with late readings alone
                await _merge_changed(connection, kind, part.changed_rows())
        late = await _add_to_books(connection, batch, owner, [0 for _ in KINDS])
        await _add_to_day_books(connection, owner, [part.days for part in batch.kinds])
        around = [(kind, part.lines_around(late)) for kind, part in zip(KINDS, batch.kinds, strict=True)]
        await late_readings.mark(connection, around, late)
        failpoints.reach("flush.before_commit")
    failpoints.reach("flush.after_commit")


async def flush_apart(
    connection: Any, batch: Batch, owner: Ownership, previous_seq: int, refused_max: int, parked: list[Refused]
) -> None:
    """Store a batch of which PostgreSQL refused some line; park those lines in dead_letter in the same transaction.

    Slower than `flush`: halves the lines until the bad ones stand alone. They are appended to `parked`, which is whole
    before the commit, so that it is known also when the answer to that is lost. Raises TooManyRefusedError above
    `refused_max` of them, and what `flush` raises.
    """
    async with connection.transaction():
        await _move_checkpoint(connection, batch, owner, previous_seq)
        await connection.execute(statement("constraints_immediate"))
        dead = []
        days = []
        stored = []
        for kind, part in zip(KINDS, batch.kinds, strict=True):
            lines = part.lines()
            found = await _store_apart(connection, kind, lines, owner, refused_max - len(parked))
            if len(found) >= _ALL_REFUSED_MIN and len(found) == part.received - part.duplicates:
                raise TooManyRefusedError(f"all {len(found)} {kind.name} lines refused; the last: {found[-1].reason}")
            parked += found
            dead.append(len(found))
            days.append(_days_without(part, [refused.line for refused in found]))
            places = {refused.place for refused in found}
            stored.append((kind, [line for place, line in enumerate(lines) if place not in places]))
        late = await _add_to_books(connection, batch, owner, dead)
        await _add_to_day_books(connection, owner, days)
        await late_readings.mark(connection, stored, late)
        failpoints.reach("flush.before_commit")
    failpoints.reach("flush.after_commit")


async def _store_apart(
    connection: Any, kind: Kind, lines: list[bytes], owner: Ownership, refused_max: int
) -> list[Refused]:
    """Store every line that PostgreSQL takes, park the others and return them, all in the order of the lines.

    That order counts: a parked line draws its id between those of its neighbours, and of a device's lines with equal
    times the last one becomes its current state.
    """
    refused: list[Refused] = []
    todo = [(0, len(lines))] if lines else []
    while todo:
        start, stop = todo.pop()
        try:
            async with connection.transaction():  # a savepoint
                await _store_piece(connection, kind, lines[start:stop])
        except database.PostgresError as error:
            if classify(error) is not Failure.REFUSED:
                raise
            if stop - start > 1:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]  # the first half next
                continue
            refused.append(Refused(kind.number, start, lines[start], error.sqlstate or "", str(error)))
            if len(refused) > refused_max:
                raise TooManyRefusedError(f"more than {refused_max} lines refused; the last: {error}") from error
            await _park(connection, kind, refused[-1], owner)
    return refused


async def _store_piece(connection: Any, kind: Kind, lines: list[bytes]) -> None:
    """Bring some lines into history and the newest of each device into its current state, both or neither."""
    rows = b"\n".join(lines) + b"\n"
    _check_count(await database.copy_rows(connection, f"{kind.name}_history", kind.columns, [rows]), len(lines))
    piece = KindBatch()
    piece.note_newest(lines)
    await _merge_changed(connection, kind, piece.changed_rows())
    await connection.execute(statement("changed_clear", kind))  # for the next piece


async def _park(connection: Any, kind: Kind, refused: Refused, owner: Ownership) -> None:
    original = refused.line.decode()
    await connection.execute(
        statement("dead_letter_add"), owner.journal_id, kind.name, original, refused.sqlstate, refused.reason
    )


async def _move_checkpoint(connection: Any, batch: Batch, owner: Ownership, previous_seq: int) -> None:
    moved = await connection.fetchval(
        statement("checkpoint_move"), owner.journal_id, owner.epoch, previous_seq, batch.last_seq, batch.last_crc
    )
    if moved is None:
        row = await connection.fetchrow(statement("checkpoint_read"), owner.journal_id)
        if row is not None and row["retired_at"] is not None:
            raise FencedError(retired_text(owner.journal_id, row["retired_at"]))
        raise FencedError(
            f"another writer owns journal {owner.journal_id} (the checkpoint is no longer at epoch {owner.epoch}, "
            f"frame {previous_seq}); is a second node running on this journal, or a copy of it?"
        )


async def _merge_changed(connection: Any, kind: Kind, rows: bytes) -> None:
    await database.copy_rows(connection, f"{kind.name}_changed", kind.columns, [rows])
    await connection.execute(statement("changed_merge", kind))


async def _add_to_books(connection: Any, batch: Batch, owner: Ownership, dead: list[int]) -> bytes:
    """Return the minute before which readings are late, as `late_readings.late_until` does."""
    parts = batch.kinds
    minute: str = await connection.fetchval(
        statement("book_add"),
        owner.journal_id,
        [kind.name for kind in KINDS],
        [part.received for part in parts],
        [part.received - part.duplicates - count for part, count in zip(parts, dead, strict=True)],
        [part.duplicates for part in parts],
        dead,
    )
    return minute.encode()


async def _add_to_day_books(connection: Any, owner: Ownership, days: list[dict[bytes, int]]) -> None:
    rows = [
        (kind.name, day.decode(), stored)
        for kind, counts in zip(KINDS, days, strict=True)
        for day, stored in sorted(counts.items())
    ]
    if rows:
        kinds, texts, counts = zip(*rows, strict=True)
        await connection.execute(statement("day_book_add"), owner.journal_id, kinds, texts, counts)


def _days_without(part: KindBatch, parked: list[bytes]) -> dict[bytes, int]:
    """Return the days of a batch's lines without those that were parked."""
    days = part.days
    for line in parked:
        days[hour_of(line)[:10]] -= 1
    return {day: count for day, count in days.items() if count}


def _check_count(stored: int, expected: int) -> None:
    if stored != expected:
        raise SwallowedError(
            f"PostgreSQL stored {stored} lines of {expected} without an error; does a trigger or a rule drop rows?"
        )
