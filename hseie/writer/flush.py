"""One flush: a batch, its checkpoint, its current states and its books in one transaction.

The checkpoint is moved first, on condition of epoch and previous sequence: its row lock keeps two owners apart, and a
writer that was replaced learns it before it has written anything.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from hseie import database, failpoints
from hseie.database import Failure, classify, statement
from hseie.errors import FencedError
from hseie.readings import KINDS, Kind
from hseie.writer.batch import Batch, KindBatch

_ALL_REFUSED_MIN = 20  # lines: if every one of so many is refused, it is not for what they hold


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who flushes: a life of a journal."""

    journal_id: uuid.UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that PostgreSQL will not take, and why."""

    line: bytes
    sqlstate: str
    reason: str


class TooManyRefusedError(Exception):
    """So many lines are refused that the tables must be wrong, not the lines. Nothing was stored."""


async def prepare(connection: Any) -> None:
    """Make a new connection ready to flush."""
    for kind in KINDS:
        await connection.execute(statement("changed_create", kind))


async def flush(connection: Any, batch: Batch, owner: Ownership, previous_seq: int) -> None:
    """Store a batch, all or nothing. Raises FencedError, and what PostgreSQL raises."""
    async with connection.transaction():
        await _move_checkpoint(connection, batch, owner, previous_seq)
        for kind, part in zip(KINDS, batch.kinds, strict=True):
            if part.pieces:
                stored = await database.copy_rows(connection, f"{kind.name}_history", kind.columns, part.pieces)
                _check_count(stored, part)
            if part.changed:  # not with late readings alone
                await _merge_changed(connection, kind, part.changed_rows())
        await _add_to_books(connection, batch, owner, [0 for _ in KINDS])
        failpoints.reach("flush.before_commit")
    failpoints.reach("flush.after_commit")


async def flush_apart(
    connection: Any, batch: Batch, owner: Ownership, previous_seq: int, refused_max: int
) -> list[Refused]:
    """Store a batch of which PostgreSQL refused some line; park those lines in dead_letter in the same transaction.

    Slower than `flush`: halves the lines until the bad ones stand alone. Returns the parked lines. Raises
    TooManyRefusedError above `refused_max` of them, and what `flush` raises.
    """
    parked: list[Refused] = []
    async with connection.transaction():
        await _move_checkpoint(connection, batch, owner, previous_seq)
        dead = []
        for kind, part in zip(KINDS, batch.kinds, strict=True):
            found = await _copy_apart(connection, kind, part.lines(), refused_max - len(parked))
            if len(found) >= _ALL_REFUSED_MIN and len(found) == part.received - part.duplicates:
                raise TooManyRefusedError(f"all {len(found)} {kind.name} lines refused; the last: {found[-1].reason}")
            parked += found
            dead.append(len(found))
            if not part.pieces:
                continue
            without = {refused.line for refused in found}
            good = KindBatch()
            good.note_newest([line for line in part.lines() if line not in without])
            if good.changed:
                await _merge_changed(connection, kind, good.changed_rows())
            if found:
                await connection.execute(
                    statement("dead_letter_add"),
                    owner.journal_id,
                    kind.name,
                    [refused.line.decode() for refused in found],
                    [refused.sqlstate for refused in found],
                    [refused.reason for refused in found],
                )
        await _add_to_books(connection, batch, owner, dead)
        failpoints.reach("flush.before_commit")
    failpoints.reach("flush.after_commit")
    return parked


async def _copy_apart(connection: Any, kind: Kind, lines: list[bytes], refused_max: int) -> list[Refused]:
    """Copy every line that PostgreSQL takes and return the others."""
    refused: list[Refused] = []
    todo = [lines] if lines else []
    while todo:
        some = todo.pop()
        try:
            async with connection.transaction():  # a savepoint
                await database.copy_rows(connection, f"{kind.name}_history", kind.columns, [b"\n".join(some) + b"\n"])
        except database.PostgresError as error:
            if classify(error) is not Failure.REFUSED:
                raise
            if len(some) == 1:
                refused.append(Refused(some[0], error.sqlstate or "", str(error)))
                if len(refused) > refused_max:
                    raise TooManyRefusedError(f"more than {refused_max} lines refused; the last: {error}") from error
            else:
                middle = len(some) // 2
                todo += [some[middle:], some[:middle]]  # the first half next: rows keep their order
    return refused


async def _move_checkpoint(connection: Any, batch: Batch, owner: Ownership, previous_seq: int) -> None:
    moved = await connection.fetchval(
        statement("checkpoint_move"), owner.journal_id, owner.epoch, previous_seq, batch.last_seq, batch.last_crc
    )
    if moved is None:
        raise FencedError(
            f"another writer owns journal {owner.journal_id} (the checkpoint is no longer at epoch {owner.epoch}, "
            f"frame {previous_seq}); is a second node running on this journal, or a copy of it?"
        )


async def _merge_changed(connection: Any, kind: Kind, rows: bytes) -> None:
    await database.copy_rows(connection, f"{kind.name}_changed", kind.columns, [rows])
    await connection.execute(statement("changed_merge", kind))


async def _add_to_books(connection: Any, batch: Batch, owner: Ownership, dead: list[int]) -> None:
    parts = batch.kinds
    await connection.execute(
        statement("book_add"),
        owner.journal_id,
        [kind.name for kind in KINDS],
        [part.received for part in parts],
        [part.received - part.duplicates - count for part, count in zip(parts, dead, strict=True)],
        [part.duplicates for part in parts],
        dead,
    )


def _check_count(stored: int, part: KindBatch) -> None:
    expected = part.received - part.duplicates
    if stored != expected:
        raise AssertionError(f"PostgreSQL stored {stored} lines of {expected}; the flush is rolled back")
