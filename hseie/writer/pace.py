"""When the next flush is due, when the next attempt to connect, and sleeping until then."""

import asyncio
import contextlib
import time

_BACKOFF_MIN_S = 0.1
_BACKOFF_MAX_S = 2.0


def seconds_until_due(
    now: float, last_flush: float, readings: int, urgent: bool, interval_s: float, readings_max: int
) -> float | None:
    """Return how long the next flush may wait; None when there is nothing to flush. Times are monotonic seconds."""
    if not readings:
        return None
    if urgent or readings >= readings_max:
        return 0.0
    return max(0.0, last_flush + interval_s - now)


class Backoff:
    """Pauses between attempts to connect, in seconds: doubled from one to the next, up to a maximum."""

    def __init__(self) -> None:
        self._pause_s = _BACKOFF_MIN_S

    def next_s(self) -> float:
        """Return the pause before the next attempt."""
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _BACKOFF_MAX_S)
        return pause_s

    def reset(self) -> None:
        """Note that a connection worked: the next pause is short again."""
        self._pause_s = _BACKOFF_MIN_S


class Sleeper:
    """Lets one task sleep until a time is over or somebody wakes it."""

    def __init__(self) -> None:
        """To be made inside the running loop."""
        self.ended = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """End `until_woken`; a nap goes on."""
        self._woken.set()

    def end(self) -> None:
        """End every sleep, for good."""
        self.ended = True
        self._woken.set()

    async def until_woken(self, seconds: float | None) -> None:
        """Sleep until woken, at most for so long."""
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def nap(self, seconds: float) -> None:
        """Sleep for so long, whoever wakes; but not past the end."""
        deadline = time.monotonic() + seconds
        while not self.ended and time.monotonic() < deadline:
            await self.until_woken(deadline - time.monotonic())
