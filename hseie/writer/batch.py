"""What one flush carries: the lines of some frames in order, the newest line of each device, and their counts."""

from collections import Counter
from dataclasses import dataclass, field

from hseie.frames import Part, decode, parse_frame
from hseie.late_readings import hour_of, may_hold_late
from hseie.readings import KINDS
from hseie.writer.journal import Entry


def split_lines(rows: bytes) -> list[bytes]:
    """Return the lines of COPY text without their newlines."""
    lines = rows.split(b"\n")
    lines.pop()
    return lines


@dataclass(slots=True)
class KindBatch:
    """The readings of one kind: COPY text in pieces, of each device its newest time and line, counts of readings.

    `hours` counts the lines of each UTC hour, and `oldest` names the oldest hour of each piece.
    """

    pieces: list[bytes] = field(default_factory=list)
    newest: dict[bytes, bytes] = field(default_factory=dict)
    changed: dict[bytes, bytes] = field(default_factory=dict)
    hours: dict[bytes, int] = field(default_factory=dict)
    oldest: list[bytes] = field(default_factory=list)
    received: int = 0
    duplicates: int = 0

    @property
    def days(self) -> dict[bytes, int]:
        """How many lines there are of each UTC day, `YYYY-MM-DD`."""
        days: dict[bytes, int] = {}
        for hour, count in self.hours.items():
            days[hour[:10]] = days.get(hour[:10], 0) + count
        return days

    def lines(self) -> list[bytes]:
        """All lines in order of arrival."""
        return split_lines(b"".join(self.pieces))

    def lines_around(self, until: bytes) -> list[bytes]:
        """Lines in order of arrival: all of those before the minute `until`, and those that came in one piece with
        them; none where it is empty."""
        pieces = [
            piece
            for piece, oldest in zip(self.pieces, self.oldest, strict=True)
            if until and may_hold_late(piece, oldest, until)
        ]
        return split_lines(b"".join(pieces))

    def note_newest(self, lines: list[bytes]) -> None:
        """Take lines in the order of their arrival; at equal times the later one wins (a correction)."""
        newest, changed = self.newest, self.changed
        known = newest.get
        for line in lines:
            device, time, _ = line.split(b"\t", 2)
            before = known(device)
            if before is None or time >= before:
                newest[device] = time
                changed[device] = line

    def append(self, rows: bytes, lines: list[bytes]) -> None:
        """Take one piece more: `rows`, which are these lines."""
        self.pieces.append(rows)
        self.note_newest(lines)
        self._count_hours(rows, lines)

    def _count_hours(self, rows: bytes, lines: list[bytes]) -> None:
        """Count lines by their hours: all at once where they are of one hour, as nearly always.

        No column but the time can look like an hour, so a search in the text finds each line at most once.
        """
        hours = self.hours
        hour = hour_of(lines[0])
        if rows.count(b"\t" + hour) == len(lines):
            hours[hour] = hours.get(hour, 0) + len(lines)
            self.oldest.append(hour)
            return
        counts = Counter([hour_of(line) for line in lines])
        for hour, count in counts.items():
            hours[hour] = hours.get(hour, 0) + count
        self.oldest.append(min(counts))

    def changed_rows(self) -> bytes:
        """The changed lines sorted by device: transactions that lock in the same order cannot deadlock."""
        return b"\n".join([self.changed[device] for device in sorted(self.changed)]) + b"\n"


class Batch:
    """Frames from `first_seq` to `last_seq`, ready for PostgreSQL; both are 0 while there is none."""

    def __init__(self) -> None:
        self.kinds = [KindBatch() for _ in KINDS]
        self.first_seq = 0
        self.last_seq = 0
        self.last_crc: int | None = None  # of that frame in the journal; noted when the batch is taken
        self.readings = 0
        self.bytes = 0

    def add(self, seq: int, parts: list[tuple[Part, list[bytes]]], marked: dict[int, list[int]]) -> None:
        """Append the frame `seq`: each part with its lines, `marked` the exact re-sends to leave out, by kind."""
        self.first_seq = self.first_seq or seq
        self.last_seq = seq
        for part, lines in parts:
            kind = self.kinds[part.kind]
            kind.received += part.count
            self.readings += part.count
            rows = part.rows
            if duplicates := marked.get(part.kind):
                kind.duplicates += len(duplicates)
                left_out = set(duplicates)
                lines = [line for index, line in enumerate(lines) if index not in left_out]
                rows = b"".join([line + b"\n" for line in lines])
            if rows:
                kind.append(rows, lines)
                self.bytes += len(rows)

    def add_entry(self, seq: int, entry: Entry) -> None:
        """Append a frame that was read back from the journal."""
        parts = parse_frame(decode(entry.body)).parts
        self.add(seq, [(part, split_lines(part.rows)) for part in parts], entry.duplicates)

    def days(self) -> list[tuple[int, str]]:
        """Return the (kind number, UTC day as YYYY-MM-DD) pairs whose partitions this batch needs."""
        return sorted((number, day.decode()) for number, kind in enumerate(self.kinds) for day in kind.days)
