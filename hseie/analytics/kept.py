"""Figures that are kept for a while, because computing them costs the database something."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# A figure is kept at least 2 s and twenty times as long as it took, so that all the asking in the world costs one
# connection 5 % of its time; and at most 10 min.
KEEP_MIN_S = 2.0
KEEP_MAX_S = 600.0
COST_FACTOR = 20.0


def keep_s(took_s: float) -> float:
    """Return for how many seconds a figure is kept that took `took_s` to compute."""
    return min(max(KEEP_MIN_S, COST_FACTOR * took_s), KEEP_MAX_S)


class Kept(Generic[T]):
    """The latest value of `compute`; whoever asks while it is computed waits for the same result."""

    def __init__(self, compute: Callable[[], Awaitable[T]]) -> None:
        self._compute = compute
        self._lock = asyncio.Lock()
        self._values: list[T] = []
        self._until = 0.0

    async def value(self) -> T:
        """Return the value, computed now if the kept one is too old.

        Raises what `compute` raises, and keeps nothing then.
        """
        async with self._lock:
            if not self._values or time.monotonic() >= self._until:
                began = time.monotonic()
                self._values = [await self._compute()]
                ended = time.monotonic()
                self._until = ended + keep_s(ended - began)
            return self._values[0]
