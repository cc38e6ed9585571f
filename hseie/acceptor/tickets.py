"""What a request holds of a frame on its way, and what may become of it."""

import asyncio
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from hseie.readings import KINDS


@dataclass(frozen=True, slots=True)
class Receipt:
    """A frame is durable: its shard and sequence, and per kind number which of its lines were exact re-sends."""

    shard: int
    seq: int
    duplicates: dict[int, list[int]]

    @property
    def job_id(self) -> str:
        return f"{self.shard}-{self.seq}"

    def duplicates_between(self, kind: int, start: int, stop: int) -> int:
        """Count the re-sends among the lines `start` to `stop` of a kind: those of one request."""
        return _count_between(self.duplicates, kind, start, stop)


def _count_between(marked: Mapping[int, list[int]], kind: int, start: int, stop: int) -> int:
    of_kind = marked.get(kind)
    return bisect_left(of_kind, stop) - bisect_left(of_kind, start) if of_kind else 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Readings were not taken, or nobody knows: the code of the problem to answer with, and in how many seconds there
    may be room (None: as the problem is declared).
    """

    code: str
    retry_s: float | None = None


UNAVAILABLE = Refusal("writer_unavailable")


class OpenFrame:
    """A frame on its way. `outcome` becomes a Receipt or a Refusal.

    `committed` becomes per kind number which of its lines PostgreSQL refused; it is made when a request waits for that.
    """

    __slots__ = ("bytes", "committed", "number", "outcome", "rows", "sent_at", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: asyncio.Future[Receipt | Refusal] = loop.create_future()
        self.committed: asyncio.Future[dict[int, list[int]]] | None = None
        self.waiting = 0  # requests that still do
        self.rows: list[list[str]] = [[] for _ in KINDS]
        self.bytes = 0
        self.number = 0
        self.sent_at = 0.0  # monotonic; before sending: when it was begun

    def settle(self, outcome: Receipt | Refusal) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's share of a frame: `count` lines of a kind from `start`."""

    frame: OpenFrame
    kind: int
    start: int
    count: int

    @property
    def parked(self) -> int:
        """How many of its lines PostgreSQL refused, once the frame is committed."""
        assert self.frame.committed is not None
        return _count_between(self.frame.committed.result(), self.kind, self.start, self.start + self.count)
