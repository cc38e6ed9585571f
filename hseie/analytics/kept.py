"""Figures that are kept, for a while or while they are true, because computing them costs the database something."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
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


class KeptWhileTrue(Generic[K, T]):
    """Values that stay true as long as what they were made from has the same key. One is computed at a time, whoever
    asks, so that they take one connection at most; of more than `most` the one that was not asked for longest goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = asyncio.Lock()
        self._values: OrderedDict[K, T] = OrderedDict()

    async def value(self, key: K, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the value of `key`, computed now if there is none. Raises what `compute` raises."""
        if key not in self._values:
            async with self._lock:
                if key not in self._values:
                    value = self._values[key] = await compute()
                    while len(self._values) > self._most:
                        self._values.popitem(last=False)
                    return value
                return self._used(key)
        return self._used(key)

    def _used(self, key: K) -> T:
        self._values.move_to_end(key)
        return self._values[key]
