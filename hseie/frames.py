"""The wire between acceptor and writer: which shard a device belongs to, and the messages on that link.

Messages are msgpack arrays that start with their type. A frame carries ready lines of COPY text, so the writer neither
parses nor formats readings, its journal stores the frame as received, and an operator can read it there.
"""

import re
import zlib
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgpack

from hseie.errors import FrameError
from hseie.readings import KINDS

HELLO = 1  # acceptor: who are you?
FRAME = 2  # acceptor: readings
WELCOME = 3  # writer: I am this life of this shard
ACKED = 4  # writer: these frames are durable in the journal
REFUSED = 5  # writer: this frame was not taken and never will be; why, and in how many seconds there may be room
COMMITTED = 6  # writer: everything up to here is in PostgreSQL, but for these lines of these frames, which it refused

# Reasons in REFUSED; each is the code of a declared problem, but for the first, which the acceptor mends by itself.
STALE_BOOT = "stale_boot"
JOURNAL_FULL = "journal_full"
DISK_FULL = "disk_full"
OVERLOADED = "overloaded"
DRAINING = "draining"

# Rows without everything but tabs and newlines are this many times the line of their kind: each line has its columns.
_ALL_BUT_SEPARATORS = bytes(byte for byte in range(256) if byte not in b"\t\n")
_SEPARATORS = tuple(b"\t" * (len(kind.columns) - 1) + b"\n" for kind in KINDS)

# Lines of which that is known: a device, a time as readings.canonical_time writes it, numbers. PostgreSQL refuses most
# else line by line; but 24:00, 60 seconds and a seventh digit are to it of the next day, which is not that of the text,
# and "\." behind a number ends the COPY. No run can go on past its end, so a mismatch is found in linear time.
_have_form = re.compile(
    rb"(?:[^\t]+\t\d\d\d\d-\d\d-\d\dT(?!24)\d\d:\d\d:[0-5]\d(?:\t|\.\d{1,6}\t)[-.0-9\t]+\n)++"
).fullmatch
_find_days = re.compile(rb"\t(\d\d\d\d-\d\d-\d\d)T").findall


def shard_of(device: str, shards: int) -> int:
    """Return the shard of a device: CRC-32 of its id modulo their number, the same in every version and process."""
    return zlib.crc32(device.encode()) % shards


@dataclass(frozen=True, slots=True)
class Part:
    """The readings of one kind in a frame: `count` lines of COPY text, each ending in a newline."""

    kind: int
    count: int
    rows: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """Readings of many requests on their way to one writer.

    `boot` names the life of the writer it is meant for: a frame that reaches the next life late is refused there,
    because its sender has been told that the outcome is unknown. `number` is the sender's own count. `wait` asks for a
    COMMITTED message.
    """

    boot: int
    number: int
    wait: bool
    parts: tuple[Part, ...]

    def encode(self) -> bytes:
        parts = [(part.kind, part.count, part.rows) for part in self.parts]
        packed: bytes = msgpack.packb((FRAME, self.boot, self.number, self.wait, parts))
        return packed


@dataclass(frozen=True, slots=True)
class Ack:
    """One frame is durable: its sequence in the journal and, per kind, which of its lines were exact re-sends."""

    number: int
    seq: int
    duplicates: dict[int, list[int]]


def encode(*message: Any) -> bytes:
    """Pack one of the small messages: its type, then its fields."""
    packed: bytes = msgpack.packb(message)
    return packed


def encode_acks(boot: int, acks: list[Ack]) -> bytes:
    return encode(ACKED, boot, [(ack.number, ack.seq, ack.duplicates or None) for ack in acks])


def decode(body: bytes) -> list[Any]:
    """Unpack a message to its type and fields. Raises FrameError for anything that is not a list with a type."""
    try:
        message = msgpack.unpackb(body, strict_map_key=False)
    except (TypeError, ValueError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(f"not msgpack: {error}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], int):
        raise FrameError("not a message")
    return message


def parse_frame(message: list[Any]) -> Frame:
    """Make a frame of an unpacked message. Raises FrameError when its shape or its counts are wrong."""
    try:
        kind_of_message, boot, number, wait, raw_parts = message
        parts = tuple(Part(kind, count, rows) for kind, count, rows in raw_parts)
        sound = (
            kind_of_message == FRAME
            and isinstance(boot, int)
            and isinstance(number, int)
            and all(_is_sound(part) for part in parts)
            and len({part.kind for part in parts}) == len(parts)
        )
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise FrameError("not a frame")
    return Frame(boot, number, bool(wait), parts)


def _is_sound(part: Part) -> bool:
    # What passes here is journaled, and then has to go through: a frame that PostgreSQL cannot even be offered (a NUL,
    # bytes that are no text) would be met again at every start of the shard.
    return (
        type(part.kind) is int  # not bool, which is one too
        and 0 <= part.kind < len(KINDS)
        and isinstance(part.rows, bytes)
        and type(part.count) is int
        and part.count > 0
        and part.rows.isascii()
        and b"\0" not in part.rows
        and _has_lines(part.rows, _SEPARATORS[part.kind], part.count)
        and _have_form(part.rows) is not None
        and _has_days(part.rows, part.count)
    )


def _has_lines(rows: bytes, separators: bytes, count: int) -> bool:
    found = rows.translate(None, _ALL_BUT_SEPARATORS)
    return len(found) == len(separators) * count and found == separators * count


def _has_days(rows: bytes, count: int) -> bool:
    """Return True, or raise ValueError for a day that the calendar has not."""
    start = rows.index(b"\t") + 1
    first = rows[start : start + 10]
    one_day = rows.count(b"\t" + first + b"T") == count  # as nearly always; only a time can look like that
    for day in (first,) if one_day else set(_find_days(rows)):
        date.fromisoformat(day.decode())
    return True


def parse_acks(message: list[Any]) -> tuple[int, list[Ack]]:
    """Return (boot, acks) of an ACKED message. Raises FrameError."""
    try:
        _, boot, raw = message
        return boot, [Ack(number, seq, duplicates or {}) for number, seq, duplicates in raw]
    except (TypeError, ValueError):
        raise FrameError("not an acknowledgement") from None
