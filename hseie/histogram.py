"""Counts in fixed buckets, cheap enough to be fed once a frame, a group or a flush. Pure.

A histogram travels with the heartbeat as its counts and its sum; the bounds stand in the declaration of its metric
(`hseie.metrics`), so both sides take them from here.
"""

from bisect import bisect_left
from typing import Any

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a fast disk's sync to the time-outs of PostgreSQL."""

READINGS = (1.0, 10.0, 100.0, 1000.0, 2500.0, 5000.0, 10_000.0, 25_000.0, 50_000.0, 100_000.0)
"""Of a flush: from a quiet node to one that catches up."""


class Histogram:
    """`counts` holds per bucket how many values were at most its bound and above the one before; the last has no bound.

    Counts only grow, so that a rate over any span of time can be made of them.
    """

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """`bounds` rise."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        """Take in what another with the same bounds has counted."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def report(self) -> dict[str, Any]:
        """Return what the heartbeat carries."""
        return {"counts": self.counts, "sum": self.sum}
