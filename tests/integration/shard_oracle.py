"""What a shard must have done, in plain lists: the oracle of the model test. It imports nothing of the engine.

A frame that is durable stands in the `frames` of its file; a frame that PostgreSQL has stands in `committed`. Sequences
are places in these lists, counted from the first sequence of the journal.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

KIND_NAMES = ("meter", "vehicle")
REFUSED_KWH = 13  # the test database has a CHECK against it
MARGIN = timedelta(minutes=1)  # as rollup_state has it


@dataclass(frozen=True)
class Reading:
    """One reading; equal ones are exact re-sends of each other."""

    kind: int
    device: str
    time: str
    kwh: int

    @property
    def line(self) -> str:
        if self.kind == 0:
            return f"{self.device}\t{self.time}\t{self.kwh}.0000\t230.00\n"
        return f"{self.device}\t{self.time}\t50.00\t{self.kwh}.0000\t20.00\n"

    @property
    def row(self) -> tuple[str, datetime, int]:
        return self.device, datetime.fromisoformat(self.time + "+00:00"), self.kwh


@dataclass(eq=False)
class Frame:
    """Some readings of which those at `resent` were marked as exact re-sends. A frame equals only itself."""

    readings: list[Reading]
    resent: set[int] = field(default_factory=set)

    def of_kind(self, kind: int) -> list[Reading]:
        return [reading for reading in self.readings if reading.kind == kind]

    @property
    def lines(self) -> dict[int, list[str]]:
        """The lines by kind number, as a frame of the engine carries them."""
        return {kind: [reading.line for reading in self.of_kind(kind)] for kind in range(len(KIND_NAMES))}

    def mark(self, by_kind: dict[int, list[int]]) -> None:
        """Take the marks of the engine, which count within each kind."""
        for kind, marked in by_kind.items():
            places = [place for place, reading in enumerate(self.readings) if reading.kind == kind]
            self.resent |= {places[index] for index in marked}

    @property
    def new(self) -> list[Reading]:
        return [reading for place, reading in enumerate(self.readings) if place not in self.resent]


@dataclass(eq=False)
class File:
    """A journal file, or a copy of one: what is durable in it, the lives on it that owned the checkpoint, and those
    that tried to.
    """

    number: int
    frames: list[Frame] = field(default_factory=list)
    owners: set[int] = field(default_factory=set)
    tried: set[int] = field(default_factory=set)
    in_doubt: list[Frame] = field(default_factory=list)  # the group of an append that a crash interrupted

    def copy(self, number: int) -> "File":
        return File(number, list(self.frames), set(self.owners), set(self.tried))


def check_marks(before: list[Frame], frame: Frame, remembered_min: int) -> None:
    """Hold the re-sends marked in a frame against what was received before: only what was there may be marked, and what
    was new among the last `remembered_min` readings must be.
    """
    earlier = [(reading, place in old.resent) for old in before for place, reading in enumerate(old.readings)]
    for place, reading in enumerate(frame.readings):
        known = [old for old, _ in earlier] + frame.readings[:place]
        inside = [old for old, resent in earlier[-remembered_min:] if not resent]
        inside += [old for index, old in enumerate(frame.readings[:place]) if index not in frame.resent]
        if place in frame.resent:
            assert reading in known, f"{reading} was taken for a re-send and came never before"
        else:
            assert reading not in inside, f"{reading} was taken twice inside the window"


@dataclass
class Tables:
    """What PostgreSQL holds, per kind: rows in order of arrival, current states, parked lines, books."""

    history: list[list[tuple[str, datetime, int]]]
    current: list[dict[str, tuple[str, datetime, int]]]
    parked: list[Counter[str]]
    books: dict[str, tuple[int, int, int, int]]  # received, stored, duplicates, dead-lettered
    marks: set[tuple[str, str, datetime]] = field(default_factory=set)  # kind, device, hour


class Oracle:
    """PostgreSQL as it must be: `committed` frames, the life that owns the checkpoint, its epoch."""

    def __init__(self) -> None:
        self.committed: list[Frame] = []
        self.owner: int | None = None
        self.epoch = 0
        self.closed_until: datetime | None = None
        self.marks: set[tuple[str, str, datetime]] = set()

    def continues(self, frames: list[Frame]) -> bool:
        """Whether a journal with these frames goes on where PostgreSQL is: it holds all that was committed."""
        return frames[: len(self.committed)] == self.committed

    def commit(self, frames: list[Frame]) -> None:
        """Take frames that were committed while the hours before `closed_until` were closed."""
        self.committed += frames
        for reading in (reading for frame in frames for reading in frame.new):
            device, time, kwh = reading.row
            hour = time.replace(minute=0, second=0, microsecond=0)
            if kwh != REFUSED_KWH and self.closed_until is not None and time < self.closed_until + MARGIN:
                self.marks.add((KIND_NAMES[reading.kind], device, hour))

    def tables(self) -> Tables:
        wanted = Tables([[], []], [{}, {}], [Counter(), Counter()], {}, self.marks)
        for kind, name in enumerate(KIND_NAMES):
            received = sum(len(frame.of_kind(kind)) for frame in self.committed)
            new = [reading for frame in self.committed for reading in frame.new if reading.kind == kind]
            for reading in new:
                if reading.kwh == REFUSED_KWH:
                    wanted.parked[kind][reading.line.rstrip("\n")] += 1
                    continue
                wanted.history[kind].append(reading.row)
                state = wanted.current[kind].get(reading.device)
                if state is None or reading.row[1] >= state[1]:
                    wanted.current[kind][reading.device] = reading.row
            dead = wanted.parked[kind].total()
            if self.committed:
                wanted.books[name] = (received, len(new) - dead, received - len(new), dead)
        return wanted
