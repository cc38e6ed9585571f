"""What registers showed before: the reading that the first one of a piece is compared with."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from hseie.database import Record, statement
from hseie.readings import Kind
from hseie.registers import REACH

Fetch = Callable[..., Awaitable[Sequence[Record]]]


async def registers_before(fetch: Fetch, kind: Kind, asked: Iterable[tuple[str, datetime]]) -> list[tuple[Any, ...]]:
    """Return, of each (register, time) asked, the newest effective reading in history before that time, if any.

    Rows are (device, at, id, values of the kind). `fetch` takes a statement and its values, like a connection's.
    """
    places = sorted(set(asked))
    if not places:
        return []
    devices, times = [device for device, _ in places], [at for _, at in places]
    rows = await fetch(statement("register_before", kind), devices, times, min(times) - REACH, max(times))
    return [tuple(row.values()) for row in rows]
