"""Figures that are kept, for a while or while they are true, because computing them costs the database something."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from hseie.analytics.reader import TooManyQueriesError
from hseie.errors import DatabaseUnavailableError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

# A figure is kept at least 2 s and twenty times as long as it took, so that all the asking in the world costs one
# connection 5 % of its time; and at most 10 min.
KEEP_MIN_S = 2.0
KEEP_MAX_S = 600.0
COST_FACTOR = 20.0
KEEP_FAILURE_MAX_S = 30.0
# Requests that may wait for their turn in one KeptWhileTrue. More would only time out.
WAITING_MAX = 50


def keep_s(took_s: float) -> float:
    """Return for how many seconds a figure is kept that took `took_s` to compute."""
    return min(max(KEEP_MIN_S, COST_FACTOR * took_s), KEEP_MAX_S)


class Kept(Generic[T]):
    """The latest value of `compute`; whoever asks while it is computed waits for the same result.

    `costly`: computing it may take so long that it fails. Such a failure is kept in proportion to what it took, or
    every request would let the database try again; for half a minute at most, since what is away
    may soon be back.
    """

    def __init__(self, compute: Callable[[], Awaitable[T]], *, costly: bool = False) -> None:
        self._compute = compute
        self._costly = costly
        self._failure: DatabaseUnavailableError | None = None
        self._lock = asyncio.Lock()
        self._values: list[T] = []
        self._until = 0.0

    async def value(self) -> T:
        """Return the value, computed now if the kept one is too old.

        Raises what `compute` raises, and keeps nothing then but the failure of what is costly.
        """
        async with self._lock:
            now = time.monotonic()
            if self._failure is not None and now < self._until:
                raise self._failure.with_traceback(None)
            if self._failure is not None or not self._values or now >= self._until:
                await self._renew(now)
            return self._values[0]

    async def _renew(self, began: float) -> None:
        self._failure = None
        try:
            self._values = [await self._compute()]
        except DatabaseUnavailableError as error:
            if self._costly:
                ended = time.monotonic()
                self._failure = error
                self._until = ended + min(COST_FACTOR * (ended - began), KEEP_FAILURE_MAX_S)
            raise
        ended = time.monotonic()
        self._until = ended + keep_s(ended - began)


class KeptWhileTrue(Generic[K, T]):
    """Values that stay true as long as what they were made from has the same key. One is computed at a time, whoever
    asks, so that they take one connection at most; of more than `most` the one that was not asked for longest goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._values: OrderedDict[K, T] = OrderedDict()

    async def value(self, key: K, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the value of `key`, computed now if there is none.

        Raises what `compute` raises, and TooManyQueriesError where WAITING_MAX wait already.
        """
        if key in self._values:
            return self._used(key)
        if self._waiting >= WAITING_MAX:
            raise TooManyQueriesError("too many requests wait for figures of the fleet")
        self._waiting += 1
        try:
            async with self._lock:
                if key in self._values:
                    return self._used(key)
                value = self._values[key] = await compute()
                while len(self._values) > self._most:
                    self._values.popitem(last=False)
                return value
        finally:
            self._waiting -= 1

    def _used(self, key: K) -> T:
        self._values.move_to_end(key)
        return self._values[key]
