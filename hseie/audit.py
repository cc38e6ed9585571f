"""The books: proves that what was received is where it should be.

Kept in the transaction that stores, the books say per journal and kind: received = stored + duplicates + dead-lettered.
The audit proves that against the tables, all of it at one moment of the database, while flushes go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hseie.database import statement
from hseie.readings import KINDS, Kind


@dataclass(frozen=True)
class Book:
    """One journal's counts of one kind, in readings."""

    journal_id: str
    shard: int
    shards: int
    kind: str
    received: int
    stored: int
    duplicates: int
    dead_lettered: int
    dropped: int = 0  # of the dead-lettered ones, those that an operator gave up


@dataclass(frozen=True)
class Tables:
    """What the tables hold of one kind: readings in history, devices that are there, dead letters.

    `current_differs` devices have a current state that is not their newest effective reading, `differing_example` is
    one of them; `without_current` devices have readings but no current state.
    """

    history: int
    devices: int
    dead_letters: int
    current_differs: int
    differing_example: str | None
    without_current: int


@dataclass(frozen=True)
class KindAudit:
    """The sums of one kind beside its tables; `in_flight`: journaled and not committed yet, None if unknown."""

    received: int
    stored: int
    duplicates: int
    dead_lettered: int
    dropped: int
    in_flight: int | None
    tables: Tables


@dataclass(frozen=True)
class Audit:
    """The outcome. `differences` names every place that does not agree; balanced means that there is none."""

    kinds: dict[str, KindAudit]
    books: list[Book]
    differences: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return the document of `hseie audit --json`."""
        return {"balanced": self.balanced, **asdict(self)}


async def collect(connection: Any) -> tuple[list[Book], dict[str, Tables]]:
    """Read books and tables in one read-only snapshot. Reads every row of history once."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        books = [Book(**row) for row in await connection.fetch(statement("audit_books"))]
        parked = {row["kind"]: row["parked"] for row in await connection.fetch(statement("audit_dead_letters"))}
        tables = {kind.name: await _tables(connection, kind, parked.get(kind.name, 0)) for kind in KINDS}
    return books, tables


async def _tables(connection: Any, kind: Kind, dead_letters: int) -> Tables:
    history = await connection.fetchrow(statement("audit_history", kind))
    current = await connection.fetchrow(statement("audit_current", kind))
    return Tables(
        history=history["readings"],
        devices=history["devices"],
        dead_letters=dead_letters,
        current_differs=current["devices"],
        differing_example=current["example"],
        without_current=history["without_current"],
    )


def in_flight(snapshot: Mapping[str, Any] | None) -> dict[str, int] | None:
    """Return per kind the readings that the writers of a running node hold; None where that cannot be told."""
    if snapshot is None:
        return None
    writers = [row["stats"].get("kinds") for row in snapshot["processes"] if row["role"] == "writer"]
    if not writers or not all(writers):
        return None
    return {
        kind.name: sum(kinds[kind.name]["waiting"] + kinds[kind.name]["active"] for kinds in writers) for kind in KINDS
    }


def compare(books: Sequence[Book], tables: Mapping[str, Tables], flying: Mapping[str, int] | None) -> Audit:
    """Lay the books beside the tables."""
    kinds = {}
    differences = []
    for book in books:
        if book.received != book.stored + book.duplicates + book.dead_lettered:
            differences.append(
                f"the book of shard {book.shard} of {book.shards}, {book.kind}: received {book.received} is not "
                f"stored {book.stored} + duplicates {book.duplicates} + dead-lettered {book.dead_lettered}"
            )
    for name, held in tables.items():
        own = [book for book in books if book.kind == name]
        kinds[name] = KindAudit(
            received=sum(book.received for book in own),
            stored=sum(book.stored for book in own),
            duplicates=sum(book.duplicates for book in own),
            dead_lettered=sum(book.dead_lettered for book in own),
            dropped=sum(book.dropped for book in own),
            in_flight=None if flying is None else flying.get(name, 0),
            tables=held,
        )
        differences += _differences(name, kinds[name])
    return Audit(kinds, list(books), differences)


def _differences(kind: str, audit: KindAudit) -> list[str]:
    held = audit.tables
    found = []
    if audit.stored != held.history:
        found.append(f"{kind}_history has {held.history} rows, the books say {audit.stored} were stored")
    if audit.dead_lettered - audit.dropped != held.dead_letters:
        found.append(
            f"dead_letter has {held.dead_letters} rows of kind {kind}, the books say {audit.dead_lettered} were parked"
            + (f" and {audit.dropped} of them dropped" if audit.dropped else "")
        )
    if held.current_differs:
        found.append(
            f"{kind}_current differs from the newest reading for {held.current_differs} devices, "
            f"for example {held.differing_example}"
        )
    if held.without_current:
        found.append(f"{kind}_current lacks {held.without_current} devices that have readings")
    return found


async def audit(connection: Any, snapshot: Mapping[str, Any] | None) -> Audit:
    """Audit the database; `snapshot` is that of the running node, for what is in flight, or None."""
    books, tables = await collect(connection)
    return compare(books, tables, in_flight(snapshot))
