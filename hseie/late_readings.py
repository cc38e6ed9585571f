"""Readings of hours that are closed: who stores one marks it, so that the rollups of its hour are made anew.

A rollup is made once, from the rows that are there, when its hour is closed (`rollup_state.closed_until`). So that it
misses none, whoever stores history rows does three things in one transaction of isolation READ COMMITTED:

1. takes the advisory lock of `hseie_rollup_lock()` shared, after the rows of `shard_checkpoint` that it locks (in this
   order everywhere, so that nobody waits in a circle);
2. reads closed_until, in a statement after that: its snapshot is then of a moment when nobody could raise it any more
   (a flush has both done by statements that it needs anyway);
3. marks the (kind, device, hour) of each row before closed_until.

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


async def closed_until(connection: Any) -> bytes:
    """Return the UTC hour before which all are closed, `YYYY-MM-DDTHH`; empty while none is."""
    hour: str = await connection.fetchval(statement("rollup_closed_until"))
    return hour.encode()


async def mark(connection: Any, stored: Iterable[tuple[Kind, Iterable[bytes]]], closed: bytes) -> None:
    """Mark of what was stored, lines of COPY text by kind, the devices and hours before `closed`."""
    rows: set[bytes] = set()
    for kind, lines in stored:
        rows |= marks(kind, lines, closed)
    if rows:
        columns = ("kind", "device_id", "bucket")
        await database.copy_rows(connection, "rollup_mark", columns, [b"".join(sorted(rows))])


def marks(kind: Kind, lines: Iterable[bytes], closed: bytes) -> set[bytes]:
    """Return the marks of those lines whose hour lies before `closed`, as lines of COPY text themselves."""
    found = set()
    prefix = kind.name.encode() + b"\t"
    for line in lines:
        device, time, _ = line.split(b"\t", 2)
        if time < closed:
            found.add(prefix + device + b"\t" + time[:_HOUR] + b":00\n")
    return found
