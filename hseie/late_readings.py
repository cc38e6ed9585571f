"""Readings of hours that are closed: who stores one marks it, so that the rollups of its hour are made anew.

A rollup is made once, from the rows that are there, when its hour is closed (`rollup_state.closed_until`). So that it
misses none, whoever stores history rows does three things in one transaction of isolation READ COMMITTED:

1. takes the advisory lock of `hseie_rollup_lock()` shared, after the rows of `shard_checkpoint` that it locks (in this
   order everywhere, so that nobody waits in a circle);
2. reads closed_until, in a statement after that: its snapshot is then of a moment when nobody could raise it any more
   (a flush has both done by statements that it needs anyway);
3. marks the (kind, device, hour) of each row before closed_until, and of those in the minutes after it in which a
   reading may be a neighbour of what lies before (`rollup_state.margin`): pairs across the boundary depend on them.

Maintenance raises closed_until under the same lock, exclusive. So of a row and the closing of its hour one came first:
either the row was committed before the closing, and what is rolled up afterwards sees it, or its transaction saw the
hour closed, and its mark is committed with it.
"""

from collections.abc import Iterable
from typing import Any

from hseie import database
from hseie.database import statement
from hseie.readings import Kind

_HOUR = len("2026-11-20T12")  # of canonical time text


def hour_of(line: bytes) -> bytes:
    """Return the UTC hour of a line of COPY text, `YYYY-MM-DDTHH`."""
    return line.partition(b"\t")[2][:_HOUR]


async def keep_open(connection: Any) -> None:
    """Let no hour be closed until the end of this transaction; waits for a closing under way."""
    await connection.execute(statement("rollup_keep_open"))


async def late_until(connection: Any) -> bytes:
    """Return the UTC minute before which readings are late, `YYYY-MM-DDTHH:MM`; empty while no hour is closed."""
    minute: str = await connection.fetchval(statement("rollup_closed_until"))
    return minute.encode()


def may_hold_late(piece: bytes, oldest: bytes, until: bytes) -> bool:
    """Return whether a piece of COPY text, whose oldest hour is given, may hold readings before the minute `until`.

    Of the hour that `until` lies in, a piece is searched for its minutes: nearly all that comes is of that hour, and
    not of them.
    """
    hour = until[:_HOUR]
    if oldest != hour:
        return oldest < hour
    return any(b"\t%b:%02d" % (hour, minute) in piece for minute in range(int(until[_HOUR + 1 :])))


async def mark(connection: Any, stored: Iterable[tuple[Kind, Iterable[bytes]]], until: bytes) -> None:
    """Mark of what was stored, lines of COPY text by kind, the devices and hours of what lies before `until`."""
    rows: set[bytes] = set()
    for kind, lines in stored:
        rows |= marks(kind, lines, until)
    if rows:
        columns = ("kind", "device_id", "bucket")
        await database.copy_rows(connection, "rollup_mark", columns, [b"".join(sorted(rows))])


def marks(kind: Kind, lines: Iterable[bytes], until: bytes) -> set[bytes]:
    """Return the marks of those lines that lie before `until`, as lines of COPY text themselves."""
    found = set()
    prefix = kind.name.encode() + b"\t"
    for line in lines:
        device, time, _ = line.split(b"\t", 2)
        if time < until:
            found.add(prefix + device + b"\t" + time[:_HOUR] + b":00\n")
    return found
