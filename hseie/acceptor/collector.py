"""Gathers the readings of many requests into frames, one link to each writer, and knows what became of every frame.

What arrives in one turn of the event loop shares a frame. When enough frames are under way to a writer, the next one
waits and grows, so a slow disk makes fewer, larger frames. The requests that share a frame share one future.
"""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hseie import failpoints
from hseie.errors import FrameError
from hseie.frames import (
    ACKED,
    COMMITTED,
    HELLO,
    REFUSED,
    STALE_BOOT,
    WELCOME,
    Frame,
    Part,
    decode,
    encode,
    parse_acks,
)
from hseie.readings import KINDS

_log = structlog.get_logger("hseie.acceptor")

_FRAME_BYTES_GOAL = 524_288  # a waiting frame of this size is closed and the next one begun


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
        marked = self.duplicates.get(kind)
        return bisect_left(marked, stop) - bisect_left(marked, start) if marked else 0


class OpenFrame:
    """A frame on its way. `outcome` becomes a Receipt, or the code of the problem to answer with."""

    __slots__ = ("bytes", "committed", "count", "number", "outcome", "rows", "sent_at", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: asyncio.Future[Receipt | str] = loop.create_future()
        self.committed: asyncio.Future[None] | None = None  # made when a request waits for the commit
        self.waiting = 0  # requests that still do
        self.rows: list[list[str]] = [[] for _ in KINDS]
        self.count = 0
        self.bytes = 0
        self.number = 0
        self.sent_at = 0.0  # monotonic; before sending: when it was begun

    def settle(self, outcome: Receipt | str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's share of a frame: `count` lines of a kind from `start`."""

    frame: OpenFrame
    kind: int
    start: int
    count: int


class WriterLink:
    """The way to one writer. `send` queues a message and tells whether it could."""

    def __init__(
        self, shard: int, frames_in_flight_max: int, waiting_bytes_max: int, ack_timeout_s: float, *, shards: int = 1
    ) -> None:
        self.strangers = 0  # times that the writer of another shard, or of another number of shards, was met
        self._shards = shards
        self.send: Callable[[bytes], bool] = lambda body: False  # the socket needs `on_message` first
        self.boot: int | None = None  # the life of the writer that was last heard of
        self.heard_at = 0.0
        self.waiting_bytes = 0
        self._shard = shard
        self._in_flight_max = frames_in_flight_max
        self._waiting_bytes_max = waiting_bytes_max
        self._ack_timeout_s = ack_timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[OpenFrame] = deque()  # the last one is still open
        self._in_flight: dict[int, OpenFrame] = {}
        self._to_commit: deque[tuple[int, OpenFrame]] = deque()
        self._number = 0
        self._planned = False

    @property
    def frames_in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def frames_to_commit(self) -> int:
        return len(self._to_commit)

    def add(self, kind: int, rows: list[str], wait: bool) -> Ticket | str:
        """Take rows for the next frame; the code of a problem when the writer is away or too much is waiting."""
        if self.boot is None:
            return "writer_unavailable"
        size = sum(map(len, rows))
        if self.waiting_bytes + size > self._waiting_bytes_max:
            return "overloaded"
        if not self._waiting or self._waiting[-1].bytes >= _FRAME_BYTES_GOAL:
            frame = OpenFrame(self._loop)
            frame.sent_at = time.monotonic()
            self._waiting.append(frame)
        frame = self._waiting[-1]
        ticket = Ticket(frame, kind, len(frame.rows[kind]), len(rows))
        frame.rows[kind] += rows
        frame.count += len(rows)
        frame.bytes += size
        self.waiting_bytes += size
        if wait:
            frame.waiting += 1
            if frame.committed is None:
                frame.committed = self._loop.create_future()
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._send_waiting)
        return ticket

    def _send_waiting(self) -> None:
        self._planned = False
        while self._waiting and len(self._in_flight) < self._in_flight_max and self.boot is not None:
            frame = self._waiting.popleft()
            self.waiting_bytes -= frame.bytes
            self._number += 1
            frame.number = self._number
            frame.sent_at = time.monotonic()
            parts = tuple(Part(kind, len(rows), "".join(rows).encode()) for kind, rows in enumerate(frame.rows) if rows)
            frame.rows = []
            wait = frame.committed is not None
            body = Frame(self.boot, frame.number, wait, parts).encode()
            if self.send(body):
                failpoints.reach("acceptor.frame_sent")
                self._in_flight[frame.number] = frame
            else:
                frame.settle("writer_unavailable")

    def on_message(self, body: bytes) -> None:
        """Take a message of the writer. Raises FrameError for anything else."""
        message = decode(body)
        kind_of_message = message[0]
        if kind_of_message == ACKED:
            boot, acks = parse_acks(message)
            failpoints.reach("acceptor.acked")
            if boot == self.boot:
                for ack in acks:
                    self._acked(ack.number, Receipt(self._shard, ack.seq, ack.duplicates))
                self._send_waiting()
        elif kind_of_message == WELCOME and len(message) == 4:
            if (message[2], message[3]) == (self._shard, self._shards):
                self._welcome(message[1])
            else:
                self._turn_away(message[2], message[3])
        elif kind_of_message == REFUSED and len(message) == 4:
            self._refused(message[1], message[2], message[3])
        elif kind_of_message == COMMITTED and len(message) == 3:
            if message[1] == self.boot:
                self._committed(message[2])
        else:
            raise FrameError(f"unknown message type {kind_of_message}")

    def _acked(self, number: int, receipt: Receipt) -> None:
        frame = self._in_flight.pop(number, None)
        if frame is not None:
            frame.settle(receipt)
            if frame.committed is not None:
                self._to_commit.append((receipt.seq, frame))

    def _welcome(self, boot: int) -> None:
        self.heard_at = time.monotonic()
        if boot != self.boot:
            # A new life of the writer: what was sent to the former one may be in its journal or not. A frame that
            # is late on its way there is refused by its boot, so the answer "unknown, send again" stays true.
            self.boot = boot
            self._lose("writer_unavailable")
            self._send_waiting()

    def _refused(self, boot: int, number: int, reason: str) -> None:
        frame = self._in_flight.pop(number, None)
        if frame is not None:
            frame.settle("writer_unavailable" if reason == STALE_BOOT else reason)
        if boot != self.boot:
            self._forget()
            self.send(encode(HELLO))  # whose life it is, only its WELCOME tells
        self._send_waiting()

    def _turn_away(self, shard: int, shards: int) -> None:
        # After the number of shards was changed, until we are replaced: what belongs to our shard is not its business.
        if not self.strangers:
            _log.warning("writer_of_other_shards", ours=[self._shard, self._shards], met=[shard, shards])
        self.strangers += 1
        self._forget()

    def _forget(self) -> None:
        if self.boot is not None:
            self.boot = None
            self._lose("writer_unavailable")

    def _committed(self, seq: int) -> None:
        while self._to_commit and self._to_commit[0][0] <= seq:
            _, frame = self._to_commit.popleft()
            if frame.committed is not None and not frame.committed.done():
                frame.committed.set_result(None)

    def _lose(self, code: str) -> None:
        for frame in self._in_flight.values():
            frame.settle(code)
        self._in_flight.clear()
        self._to_commit.clear()  # durable, but nobody will tell of the commit: those requests run into their time-out

    def sweep(self, now: float, silence_max_s: float) -> None:
        """Ask the writer for a sign of life, and give up what has taken too long. `now` is monotonic seconds."""
        self.send(encode(HELLO))
        if self.boot is not None and now - self.heard_at > silence_max_s:
            self.boot = None  # stopped or gone: no more is sent until it is heard again
        while self._to_commit and not self._to_commit[0][1].waiting:
            self._to_commit.popleft()  # nobody waits any more: PostgreSQL may be away for long
        oldest = now - self._ack_timeout_s
        for frame in self._in_flight.values():
            if frame.sent_at < oldest:
                frame.settle("ack_timeout")  # it keeps its place: the writer still has it before it ...
        lost = [number for number, frame in self._in_flight.items() if frame.sent_at < now - 4 * self._ack_timeout_s]
        for number in lost:
            del self._in_flight[number]  # ... but not for ever: its acknowledgement may have been lost
        while self._waiting and (self.boot is None or self._waiting[0].sent_at < oldest):
            frame = self._waiting.popleft()
            self.waiting_bytes -= frame.bytes
            frame.settle("writer_unavailable")
