"""Readings put into requests: one each, as devices do, or many of a kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from simulator.fleet import Due, Reading

ROUTES = {"meter": "/v1/ingest/meter", "vehicle": "/v1/ingest/vehicle"}


@dataclass(slots=True)
class Post:
    """One request to come. The body is encoded once, so that a retry sends the same bytes.

    ``due_ms`` is when its last reading is due (Unix ms).
    """

    due_ms: int
    kind: str
    readings: list[Reading]
    body: bytes


def posts(stream: Iterator[Due], batch: int) -> Iterator[Post]:
    """The stream as requests of ``batch`` readings; the last of each kind may be smaller."""
    if batch == 1:
        for due, reading in stream:
            yield Post(due, reading.kind, [reading], orjson.dumps(reading.fields))
        return
    gathered: dict[str, list[Reading]] = {kind: [] for kind in ROUTES}
    due = 0
    for due, reading in stream:
        readings = gathered[reading.kind]
        readings.append(reading)
        if len(readings) == batch:
            yield _batch_post(due, reading.kind, readings)
            gathered[reading.kind] = []
    for kind, readings in gathered.items():
        if readings:
            yield _batch_post(due, kind, readings)


def _batch_post(due_ms: int, kind: str, readings: list[Reading]) -> Post:
    return Post(due_ms, kind, readings, orjson.dumps([reading.fields for reading in readings]))
