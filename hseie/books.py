"""What the books are made of, and what the audit says of them: `audit` reads it, `balance` compares it.

journals      what was acknowledged: frames forgotten, committed (up to the checkpoint) and waiting (after it)
checkpoint    up to which frame PostgreSQL has a journal
books         per journal and kind: received = stored + duplicates + dead-lettered
day books     the stored ones again, per UTC day of the readings' timestamps
tables        history per day partition, dead letters, the current state of each device
archive       readings that are in history no more, by day: in files, or given up by retention.then = "drop"
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from hseie.journal_file import JournalFile


@dataclass(frozen=True)
class Checkpoint:
    """Up to which frame PostgreSQL has a journal, and the token of the writer that brought it there.

    `begun_after` is the frame after which this PostgreSQL began to take it; None: from the first on.
    """

    journal_id: str
    shard: int
    shards: int
    last_seq: int
    owner: str
    begun_after: int | None = None


@dataclass(frozen=True)
class Book:
    """One journal's counts of one kind, in readings.

    `dropped` counts, of the dead-lettered ones, those that an operator gave up. The days of the `stored_undated` ones
    were not counted.
    """

    journal_id: str
    shard: int
    shards: int
    kind: str
    received: int
    stored: int
    duplicates: int
    dead_lettered: int
    dropped: int = 0
    stored_undated: int = 0

    @property
    def parked(self) -> int:
        """How many rows `dead_letter` should have of it."""
        return self.dead_lettered - self.dropped


@dataclass(frozen=True)
class DayBook:
    """How many rows of a kind and UTC day one journal stored; without a journal: what was there before the counting."""

    journal_id: str | None
    kind: str
    day: date
    stored: int


@dataclass(frozen=True)
class Tables:
    """What the tables hold of one kind: rows in history, devices that are there, dead letters.

    `current_differs` devices have a current state that is not their newest effective reading, `differing_example` is
    one of them; `without_current` devices have readings but no current state. Where not all days of history were read,
    rows and devices are those of the days that were.
    """

    history: int
    devices: int
    dead_letters: int
    current_differs: int
    differing_example: str | None
    without_current: int


@dataclass(frozen=True)
class Kept:
    """What PostgreSQL says, all of it at one moment. `dead_letters` is by journal and kind, `history` by kind and day.

    `from_day` is the first UTC day of history that was read; None: all. `archived` is by kind and day: readings that
    have left history, to the archive or for good.
    """

    checkpoints: tuple[Checkpoint, ...]
    books: tuple[Book, ...]
    day_books: tuple[DayBook, ...]
    dead_letters: Mapping[tuple[str, str], int]
    history: Mapping[tuple[str, date], int]
    tables: Mapping[str, Tables]
    from_day: date | None = None
    archived: Mapping[tuple[str, date], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Journals:
    """What the data folder says, read after PostgreSQL. `missing` and `unreadable` say what could not be read."""

    files: tuple[JournalFile, ...] = ()
    unreadable: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that may be in flight is in `files`."""
        return not self.unreadable and not self.missing


@dataclass(frozen=True)
class KindAudit:
    """The sums of one kind beside its tables. `in_flight`: in a journal and not in PostgreSQL yet; None: unknown.

    `acknowledged` is what devices have been promised: received and in flight. `archived`: of those stored, how many
    have left history, to the archive or for good.
    """

    acknowledged: int | None
    received: int
    stored: int
    duplicates: int
    dead_lettered: int
    dropped: int
    in_flight: int | None
    tables: Tables
    archived: int = 0


@dataclass(frozen=True)
class DayAudit:
    """One UTC day of a kind: rows that the books say were stored, rows in its partition, and rows that have left it."""

    kind: str
    day: str
    partition: str
    stored: int
    rows: int
    archived: int = 0


@dataclass(frozen=True)
class JournalAudit:
    """One journal: how far it and PostgreSQL are, and its readings by kind. `file` is None where it is not here.

    `acknowledged` is None where the journal does not know what it has forgotten. `committed_seq` is None where
    PostgreSQL does not know the journal.
    """

    journal_id: str
    shard: int
    shards: int
    file: str | None
    last_seq: int | None
    committed_seq: int | None
    acknowledged: dict[str, int] | None
    in_flight: dict[str, int] | None


@dataclass(frozen=True)
class Audit:
    """The outcome. `differences` names every place that does not agree; balanced means that there is none.

    `notes` says what could not be compared, and is no difference. `from_day`: the first UTC day of history that was
    read, None for all.
    """

    kinds: dict[str, KindAudit]
    books: list[Book]
    days: list[DayAudit]
    journals: list[JournalAudit]
    from_day: str | None = None
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return the document of `hseie audit --json`."""
        return {"balanced": self.balanced, **asdict(self)}
