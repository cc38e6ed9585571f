"""The client's own book: what was sent, and what the server said. A fault test compares it with the tables."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from simulator.answers import Verdict
from simulator.disturbance import MALFORMED
from simulator.fleet import Reading
from simulator.posts import Post

BUFFER_BYTES = 1 << 20


def row(reading: Reading) -> list[Any]:
    """A reading as [kind, id, timestamp, …values in the order of the wire]."""
    id_field = f"{reading.kind}Id"
    values = [value for name, value in reading.fields.items() if name not in (id_field, "timestamp")]
    return [reading.kind, reading.fields.get(id_field), reading.fields.get("timestamp"), *values]


def line(post: Post, status: int | None, verdict: Verdict, attempts: int, at: str) -> bytes:
    """One request as a line of JSON. ``status`` is the last answer's, or None when the last attempt had none.

    ``rejected_at`` and ``malformed`` are indexes into ``readings``. Only the outcomes ``accepted`` and
    ``rejected`` are certain: a ``failed`` reading may have been stored when a gateway answered for the server.
    """
    record = {
        "readings": [row(reading) for reading in post.readings],
        "status": status,
        "outcome": verdict.outcome,
        "accepted": verdict.accepted,
        "duplicates": verdict.duplicates,
        "rejected": verdict.rejected,
        "rejected_at": verdict.rejected_at,
        "malformed": [index for index, reading in enumerate(post.readings) if reading.mark == MALFORMED],
        "attempts": attempts,
        "at": at,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class Ledger:
    """An append-only file of JSON lines, one a request, written when the request is over; buffered to its end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=BUFFER_BYTES)

    def write(self, entry: bytes) -> None:
        self._file.write(entry)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
