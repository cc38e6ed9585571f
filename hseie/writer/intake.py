"""Takes frames from the acceptors, journals them in groups, and acknowledges what is durable.

While one group is synced the next one gathers, so the slower the disk the larger the groups: one sync is in flight, and
a frame waits for two at most. An acknowledgement is sent after the sync and before anything else is done with a frame.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hseie.errors import FrameError
from hseie.frames import (
    COMMITTED,
    DISK_FULL,
    DRAINING,
    FRAME,
    HELLO,
    JOURNAL_FULL,
    OVERLOADED,
    REFUSED,
    STALE_BOOT,
    WELCOME,
    Ack,
    Part,
    decode,
    encode,
    encode_acks,
    parse_frame,
)
from hseie.readings import KINDS
from hseie.retry_after import ESTIMATE_MAX_S, Rate, seconds_for
from hseie.writer.batch import split_lines
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.disk import FreeSpace, SyncTimes
from hseie.writer.journal import Entry, Journal
from hseie.writer.parked import Parked
from hseie.writer.pending import Pending
from hseie.writer.room import Limits, Room

_DRAIN_RATE_OVER_S = 10.0  # pruning goes in bursts
_WAITERS_MAX = 1024  # four times the acceptors there can be; one that was restarted leaves its last life behind

# What `hseie status` shows for a reason to refuse; too much that waits for a sync means that syncs are slow.
_STATES = {JOURNAL_FULL: "full", DISK_FULL: "disk_full", OVERLOADED: "slow"}

Send = Callable[[bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A frame between its arrival and its sync."""

    peer: bytes
    number: int
    wait: bool
    parts: list[tuple[Part, list[bytes]]]
    entry: Entry


class Intake:
    """One shard's entrance. `boot` names this life of the writer."""

    def __init__(
        self,
        journal: Journal,
        dedupe: DedupeWindow,
        pending: Pending,
        limits: Limits,
        free_space: FreeSpace,
        on_arrival: Callable[[bool], None],
    ) -> None:
        self.boot = secrets.randbits(53)
        self.received = [0 for _ in KINDS]
        self.duplicates = [0 for _ in KINDS]
        self.frames = 0
        self.frames_refused: dict[str, int] = {}  # by reason
        self.gathering_bytes = 0  # arrived and not synced
        self.sync_times = SyncTimes(limits.ack_timeout_s)
        self.draining_rate = Rate(_DRAIN_RATE_OVER_S)  # bytes the journal loses a second
        self.send: Send = lambda peer, body: False  # the socket needs `on_message` first
        self._journal = journal
        self._dedupe = dedupe
        self._pending = pending
        self._room = Room(limits)
        self._free_space = free_space
        self._on_arrival = on_arrival
        self._gathering: list[_Arrival] = []
        self._next_seq = journal.last_seq + 1
        self._waiters: dict[bytes, int] = {}  # by acceptor, the newest frame whose commit it waits for
        self._wake = asyncio.Event()
        self._draining = False

    def journal_state(self, now: float) -> str:
        """Return "stuck", "disk_full", "full", "slow" or "ok". `now` is monotonic seconds."""
        reason, disk = self._look(), self.sync_times.state(now)
        return disk if reason is None or disk == "stuck" else _STATES[reason]

    def _look(self) -> str | None:
        return self._room.look(self._journal.bytes, self.gathering_bytes, self._free_space.bytes)

    def on_message(self, peer: bytes, body: bytes) -> None:
        """Take a message of an acceptor. Raises FrameError for anything else."""
        message = decode(body)
        if message[0] == FRAME:
            self._take(peer, body, message)
        elif message[0] == HELLO:
            identity = self._journal.identity
            self.send(peer, encode(WELCOME, self.boot, identity.shard, identity.shards))
        else:
            raise FrameError(f"unknown message type {message[0]}")

    def _take(self, peer: bytes, body: bytes, message: list[Any]) -> None:
        frame = parse_frame(message)
        reason = self._reason_to_refuse(frame.boot)
        if reason is not None:
            self.frames_refused[reason] = self.frames_refused.get(reason, 0) + 1
            self.send(peer, encode(REFUSED, self.boot, frame.number, reason, self._seconds_to_room(reason)))
            return
        self._dedupe.turn(self._next_seq, len(body), time.monotonic())
        self._next_seq += 1
        parts = [(part, split_lines(part.rows)) for part in frame.parts]
        marked = {}
        for part, lines in parts:
            self.received[part.kind] += part.count
            if duplicates := self._dedupe.check(part.kind, lines):
                self.duplicates[part.kind] += len(duplicates)
                marked[part.kind] = duplicates
        entry = Entry(body, {part.kind: part.count for part in frame.parts}, marked)
        self._gathering.append(_Arrival(peer, frame.number, frame.wait, parts, entry))
        self.gathering_bytes += len(body)
        self._wake.set()

    def _reason_to_refuse(self, boot: int) -> str | None:
        if boot != self.boot:
            return STALE_BOOT
        if self._draining:
            return DRAINING
        return self._look()

    def _seconds_to_room(self, reason: str) -> float | None:
        """Estimate when a refused frame may come again; None where only the problem's own estimate helps."""
        if reason != JOURNAL_FULL:
            return None
        excess = self._room.excess_bytes(self._journal.bytes + self.gathering_bytes)
        return seconds_for(excess, self.draining_rate.per_s, ESTIMATE_MAX_S)

    async def run(self) -> None:
        """Journal and acknowledge until drained. Raises JournalError: nothing of that group was acknowledged."""
        while True:
            if self._gathering:
                await self._journal_group()
            elif self._draining:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def drain(self) -> None:
        """Take no more frames and let `run` end after the last group."""
        self._draining = True
        self._wake.set()

    async def _journal_group(self) -> None:
        group, self._gathering = self._gathering, []
        self.sync_times.begin(time.monotonic())
        first = await self._journal.append([arrival.entry for arrival in group])
        self.sync_times.end(time.monotonic())
        self.gathering_bytes -= sum(len(arrival.entry.body) for arrival in group)
        self.frames += len(group)
        acks: dict[bytes, list[Ack]] = {}
        for seq, arrival in enumerate(group, start=first):
            acks.setdefault(arrival.peer, []).append(Ack(arrival.number, seq, arrival.entry.duplicates))
        for peer, some in acks.items():
            self.send(peer, encode_acks(self.boot, some))  # an acceptor that is gone needs no answer
        for seq, arrival in enumerate(group, start=first):
            self._pending.add(seq, arrival.parts, arrival.entry.duplicates)
            if arrival.wait:
                self._note_waiter(arrival.peer, seq)
        self._on_arrival(any(arrival.wait for arrival in group))

    def _note_waiter(self, peer: bytes, seq: int) -> None:
        self._waiters.pop(peer, None)
        self._waiters[peer] = seq  # as the last one
        if len(self._waiters) > _WAITERS_MAX:
            del self._waiters[next(iter(self._waiters))]  # if it still waits, it gets the 202 of the journal in time

    def committed(self, seq: int, parked: Parked | None = None) -> None:
        """Tell those who wait that everything up to frame `seq` is in PostgreSQL, and what was parked instead."""
        for peer, newest in list(self._waiters.items()):
            heard = self.send(peer, encode(COMMITTED, self.boot, seq, parked or {}))
            if newest <= seq or not heard:
                del self._waiters[peer]
