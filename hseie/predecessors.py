"""What registers showed before: the reading that the first one of a piece is compared with."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from hseie.database import Record, statement
from hseie.readings import Kind
from hseie.registers import REACH

Fetch = Callable[..., Awaitable[Sequence[Record]]]

# Nearly always a register has sent something in so much time. Only where it has not, all partitions of its reach are
# planned for, which takes longer than everything else about the question.
NEAR = timedelta(days=1)


async def registers_before(fetch: Fetch, kind: Kind, asked: Iterable[tuple[str, datetime]]) -> list[tuple[Any, ...]]:
    """Return, of each (register, time) asked, the newest effective reading before that time, if any: in history, or
    kept of a day that is given up.

    Rows are (device, at, id, values of the kind). `fetch` takes a statement and its values, like a connection's.
    """
    places = sorted(set(asked))
    found: list[tuple[Any, ...]] = []
    for reach in (NEAR, REACH):
        if not places:
            break
        devices, times = [device for device, _ in places], [at for _, at in places]
        rows = await fetch(statement("register_before", kind), devices, times, min(times) - reach, max(times))
        found += [tuple(row.values()) for row in rows]
        # A row does not say for which of a register's times it was found: for all those that it lies before.
        oldest: dict[str, datetime] = {}
        for device, at, *_ in found:
            oldest[device] = min(at, oldest.get(device, at))
        places = [(device, at) for device, at in places if device not in oldest or oldest[device] >= at]
    return found
