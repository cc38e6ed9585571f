"""What the flushes of this life of a writer did, for its heartbeat. The books in PostgreSQL are what counts."""

from collections.abc import Sequence
from typing import Any

from hseie import histogram
from hseie.histogram import Histogram
from hseie.readings import KINDS
from hseie.writer.batch import Batch
from hseie.writer.flush import Refused


class Tally:
    """Counts since the start of the process; `stored` and `dead_lettered` are readings per kind number."""

    def __init__(self) -> None:
        self.flushes = 0
        self.stored = [0 for _ in KINDS]
        self.dead_lettered = [0 for _ in KINDS]
        self._failures: dict[str, int] = {}
        self._seconds = Histogram(histogram.SECONDS)
        self._readings = Histogram(histogram.READINGS)

    def took(self, seconds: float) -> None:
        """Note how long a flush took whose answer came. One that was found committed later has no such time."""
        self._seconds.observe(seconds)

    def flushed(self, batch: Batch, parked: Sequence[Refused]) -> None:
        """Note a committed batch and which of its lines were parked."""
        self.flushes += 1
        self._readings.observe(batch.readings)
        for number, kind in enumerate(batch.kinds):
            self.stored[number] += kind.received - kind.duplicates
        for refused in parked:
            self.stored[refused.kind] -= 1
            self.dead_lettered[refused.kind] += 1

    def failed(self, why: str) -> None:
        """Note an attempt to connect or to flush that failed; the batch is tried again."""
        self._failures[why] = self._failures.get(why, 0) + 1

    def report(self) -> dict[str, Any]:
        """Return what the heartbeat carries, but for the figures per kind."""
        return {
            "flushes": self.flushes,
            "flush_failures": self._failures,
            "flush_seconds": self._seconds.report(),
            "flush_readings": self._readings.report(),
            "dead_lettered": sum(self.dead_lettered),
        }
