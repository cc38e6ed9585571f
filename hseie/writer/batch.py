"""What one flush carries: the lines of some frames in order, the newest line of each device, and their counts."""

from dataclasses import dataclass, field

from hseie.frames import Part, decode, parse_frame
from hseie.readings import KINDS
from hseie.writer.journal import Entry


def split_lines(rows: bytes) -> list[bytes]:
    """Return the lines of COPY text without their newlines."""
    lines = rows.split(b"\n")
    lines.pop()
    return lines


def day_of(line: bytes) -> bytes:
    """Return the UTC day of a line of COPY text, `YYYY-MM-DD`."""
    return line.split(b"\t", 2)[1][:10]


@dataclass(slots=True)
class KindBatch:
    """The readings of one kind: COPY text in pieces, of each device its newest time and line, counts of readings.

    `days` counts the lines of each UTC day.
    """

    pieces: list[bytes] = field(default_factory=list)
    newest: dict[bytes, bytes] = field(default_factory=dict)
    changed: dict[bytes, bytes] = field(default_factory=dict)
    days: dict[bytes, int] = field(default_factory=dict)
    received: int = 0
    duplicates: int = 0

    def lines(self) -> list[bytes]:
        """All lines in order of arrival."""
        return split_lines(b"".join(self.pieces))

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

    def count_days(self, rows: bytes, lines: list[bytes]) -> None:
        """Count lines, which joined are `rows`, by their days: all at once where they are of one day, as nearly always.

        No column but the time can look like a day, so a search in the text finds each line at most once.
        """
        day = day_of(lines[0])
        if rows.count(b"\t" + day) == len(lines):
            self.days[day] = self.days.get(day, 0) + len(lines)
            return
        for line in lines:
            day = day_of(line)
            self.days[day] = self.days.get(day, 0) + 1

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
                kind.pieces.append(rows)
                self.bytes += len(rows)
                kind.note_newest(lines)
                kind.count_days(rows, lines)

    def add_entry(self, seq: int, entry: Entry) -> None:
        """Append a frame that was read back from the journal."""
        parts = parse_frame(decode(entry.body)).parts
        self.add(seq, [(part, split_lines(part.rows)) for part in parts], entry.duplicates)

    def days(self) -> list[tuple[int, str]]:
        """Return the (kind number, UTC day as YYYY-MM-DD) pairs whose partitions this batch needs."""
        return sorted((number, day.decode()) for number, kind in enumerate(self.kinds) for day in kind.days)
