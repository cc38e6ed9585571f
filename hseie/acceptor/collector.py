"""Gathers the readings of many requests into frames, one link to each writer, and knows what became of every frame.

What arrives in one turn of the event loop shares a frame. When enough frames are under way to a writer, the next one
waits and grows, so a slow disk makes fewer, larger frames. The requests that share a frame share one future.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from hseie import failpoints, histogram
from hseie.acceptor.tickets import UNAVAILABLE, OpenFrame, Receipt, Refusal, Ticket
from hseie.errors import FrameError
from hseie.frames import (
    ACKED,
    COMMITTED,
    HELLO,
    OVERLOADED,
    REFUSED,
    STALE_BOOT,
    WELCOME,
    Frame,
    Part,
    decode,
    encode,
    parse_acks,
)
from hseie.histogram import Histogram
from hseie.retry_after import Rate, seconds_for

_log = structlog.get_logger("hseie.acceptor")

_FRAME_BYTES_GOAL = 524_288  # a waiting frame of this size is closed and the next one begun
_RATE_OVER_S = 2.0


class WriterLink:
    """The way to one writer. `send` queues a message and tells whether it could.

    `bytes_max` bounds the rows that wait here and those that are under way, together.
    """

    def __init__(
        self, shard: int, frames_in_flight_max: int, bytes_max: int, ack_timeout_s: float, *, shards: int
    ) -> None:
        self.strangers = 0  # times that the writer of another shard, or of another number of shards, was met
        self._shards = shards
        self.send: Callable[[bytes], bool] = lambda body: False  # the socket needs `on_message` first
        self.boot: int | None = None  # the life of the writer that was last heard of
        self.heard_at = 0.0
        self.waiting_bytes = 0
        self.in_flight_bytes = 0
        self.frames_sent = 0
        self.ack_seconds = Histogram(histogram.SECONDS)  # from the sending of a frame to its acknowledgement
        self._shard = shard
        self._in_flight_max = frames_in_flight_max
        self._bytes_max = bytes_max
        self._ack_timeout_s = ack_timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[OpenFrame] = deque()  # the last one is still open
        self._in_flight: dict[int, OpenFrame] = {}
        self._to_commit: deque[tuple[int, OpenFrame]] = deque()
        self._number = 0
        self._planned = False
        self._acked_bytes = 0
        self._acking = Rate(_RATE_OVER_S)

    @property
    def frames_in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def frames_to_commit(self) -> int:
        return len(self._to_commit)

    @property
    def backlog_s(self) -> float:
        """How long what waits and is under way will take, at the rate of late; no longer than anybody waits for it."""
        return seconds_for(self.waiting_bytes + self.in_flight_bytes, self._acking.per_s, self._ack_timeout_s)

    def add(self, kind: int, rows: list[str], wait: bool) -> Ticket | Refusal:
        """Take rows for the next frame; a refusal when the writer is away or too much has no answer yet."""
        if self.boot is None:
            return UNAVAILABLE
        size = sum(map(len, rows))
        if self.waiting_bytes + self.in_flight_bytes + size > self._bytes_max:
            return Refusal(OVERLOADED, self.backlog_s)
        if not self._waiting or self._waiting[-1].bytes >= _FRAME_BYTES_GOAL:
            frame = OpenFrame(self._loop)
            frame.sent_at = time.monotonic()
            self._waiting.append(frame)
        frame = self._waiting[-1]
        ticket = Ticket(frame, kind, len(frame.rows[kind]), len(rows))
        frame.rows[kind] += rows
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
                self.in_flight_bytes += frame.bytes
                self.frames_sent += 1
            else:
                frame.settle(UNAVAILABLE)

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
        elif kind_of_message == REFUSED and len(message) == 5:
            self._refused(message[1], message[2], Refusal(message[3], message[4]))
        elif kind_of_message == COMMITTED and len(message) == 4:
            if message[1] == self.boot:
                self._committed(message[2], message[3])
        else:
            raise FrameError(f"unknown message type {kind_of_message}")

    def _landed(self, number: int) -> OpenFrame | None:
        frame = self._in_flight.pop(number, None)
        if frame is not None:
            self.in_flight_bytes -= frame.bytes
        return frame

    def _acked(self, number: int, receipt: Receipt) -> None:
        frame = self._landed(number)
        if frame is not None:
            self._acked_bytes += frame.bytes
            self.ack_seconds.observe(time.monotonic() - frame.sent_at)
            frame.settle(receipt)
            if frame.committed is not None:
                self._to_commit.append((receipt.seq, frame))

    def _welcome(self, boot: int) -> None:
        self.heard_at = time.monotonic()
        if boot != self.boot:
            # A new life of the writer: what was sent to the former one may be in its journal or not. A frame that
            # is late on its way there is refused by its boot, so the answer "unknown, send again" stays true.
            self.boot = boot
            self._lose()
            self._send_waiting()

    def _refused(self, boot: int, number: int, refusal: Refusal) -> None:
        frame = self._landed(number)
        if frame is not None:
            frame.settle(UNAVAILABLE if refusal.code == STALE_BOOT else refusal)
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
            self._lose()

    def _committed(self, seq: int, parked: Mapping[int, dict[int, list[int]]]) -> None:
        while self._to_commit and self._to_commit[0][0] <= seq:
            number, frame = self._to_commit.popleft()
            if frame.committed is not None and not frame.committed.done():
                frame.committed.set_result(parked.get(number) or {})

    def _lose(self) -> None:
        for frame in self._in_flight.values():
            frame.settle(UNAVAILABLE)
        self._in_flight.clear()
        self.in_flight_bytes = 0
        self._to_commit.clear()  # durable, but nobody will tell of the commit: those requests run into their time-out

    def sweep(self, now: float, silence_max_s: float) -> None:
        """Ask the writer for a sign of life, and give up what has taken too long. `now` is monotonic seconds."""
        self.send(encode(HELLO))
        self._acking.note(self._acked_bytes, now)
        if self.boot is not None and now - self.heard_at > silence_max_s:
            self.boot = None  # stopped or gone: no more is sent until it is heard again
        # Only those somebody waits for: PostgreSQL may be away for long. So no more are kept than requests wait.
        self._to_commit = deque(item for item in self._to_commit if item[1].waiting)
        oldest = now - self._ack_timeout_s
        for frame in self._in_flight.values():
            if frame.sent_at < oldest:
                frame.settle(Refusal("ack_timeout"))  # it keeps its place: the writer still has it before it ...
        lost = [number for number, frame in self._in_flight.items() if frame.sent_at < now - 4 * self._ack_timeout_s]
        for number in lost:
            self._landed(number)  # ... but not for ever: its acknowledgement may have been lost
        while self._waiting and (self.boot is None or self._waiting[0].sent_at < oldest):
            frame = self._waiting.popleft()
            self.waiting_bytes -= frame.bytes
            frame.settle(UNAVAILABLE)
