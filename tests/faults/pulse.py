"""One device that sends reading after reading, each until it is taken, and notes every answer with its time.

Beside a fleet it shows what devices of one shard saw, and when: that one was served, or was sent away and asked to come
again.
"""

import http.client
import itertools
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tests.system.ledger import Ledger, Reading, device_of, meter, now_text
from tests.system.node import PATIENCE_S, Answer, Node


@dataclass(frozen=True)
class Beat:
    """One attempt: when it was begun (Unix seconds), how long it took, its answer; None when the connection broke."""

    at: float
    took_s: float
    answer: Answer | None

    @property
    def taken(self) -> bool:
        return self.answer is not None and self.answer.status == 202

    @property
    def sent_away(self) -> bool:
        return self.answer is not None and self.answer.status == 503


class Pulse:
    """A thread that sends to one shard of a node, on a connection a reading, from `with` to its end."""

    def __init__(self, node: Node, shard: int, name: str, shards: int = 2, every_s: float = 0.03) -> None:
        self.beats: list[Beat] = []
        self._node = node
        self._device = device_of(shard, shards, name)
        self._every_s = every_s
        self._readings: list[Reading] = []
        self._taken = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pulse {name}", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> "Pulse":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(2 * PATIENCE_S)
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._send(meter(self._device, len(self._readings), time=now_text()))
                time.sleep(self._every_s)
        except BaseException as error:
            self._error = error

    def _send(self, reading: Reading) -> None:
        self._readings.append(reading)
        until = time.monotonic() + PATIENCE_S
        while not (beat := self._try(reading)).taken:
            self.beats.append(beat)
            assert beat.answer is None or beat.sent_away, beat
            if beat.answer is not None:
                assert int(beat.answer.headers["Retry-After"]) >= 1, beat
            assert time.monotonic() < until, f"not taken in {PATIENCE_S} s; the last answer: {beat}"
            time.sleep(self._every_s)  # sooner than asked, for the sake of our time
        self._taken += 1
        self.beats.append(beat)

    def _try(self, reading: Reading) -> Beat:
        at, began = time.time(), time.monotonic()
        try:
            answer = self._node.post("meter", reading)
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            answer = None
        return Beat(at, time.monotonic() - began, answer)

    # --- after its end ------------------------------------------------------------------------------------------------

    def note(self, ledger: Ledger) -> Ledger:
        """Add what was promised to the ledger of the run."""
        ledger.note("meter", self._readings[: self._taken])
        ledger.note("meter", self._readings[self._taken :], promised=False)
        return ledger

    def taken_between(self, start: float, end: float) -> int:
        """Readings that were sent and taken within a span of Unix seconds."""
        return sum(beat.taken and start < beat.at and beat.at + beat.took_s < end for beat in self.beats)

    @property
    def codes(self) -> set[str]:
        """The codes of all answers that sent it away; "" for a broken connection."""
        return {beat.answer.body["code"] if beat.answer else "" for beat in self.beats if not beat.taken}

    @property
    def broken(self) -> int:
        """How often the connection broke before the answer."""
        return sum(beat.answer is None for beat in self.beats)

    def longest_gap_s(self) -> float:
        """The longest time between two readings that were taken."""
        taken = [beat.at + beat.took_s for beat in self.beats if beat.taken]
        return max((later - earlier for earlier, later in itertools.pairwise(taken)), default=0.0)

    def summary(self) -> dict[str, Any]:
        return {
            "attempts": len(self.beats),
            "taken": self._taken,
            "sent away": sum(beat.sent_away for beat in self.beats),
            "broken": self.broken,
            "codes": sorted(self.codes),
            "slowest_s": round(max(beat.took_s for beat in self.beats), 2),
            "longest_gap_s": round(self.longest_gap_s(), 2),
        }
