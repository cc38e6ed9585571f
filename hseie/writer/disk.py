"""What the disk of the journal is like: how much of it is free, and how long its syncs take."""

import asyncio
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LOOK_EVERY_S = 1.0
SLOW_SYNC_S = 0.15  # on average of late; an SSD takes 1 to 10 ms, a rotating disk 10 to 30
HUNG_SYNC_S = 1.0  # one that is under way for so long is slow by itself
_SMOOTHING_S = 5.0
_FORGET_S = 60.0  # without a sync for so long, nobody knows


def free_bytes_of(folder: Path) -> int:
    """Return how many bytes of a folder's file system may still be written by us."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


class FreeSpace:
    """Looks, in a thread of its own, how much is free: on a dead network disk the question itself may hang. Then, and
    when it fails, `bytes` stays what it was. None: nobody has looked yet.
    """

    def __init__(self, folder: Path, log: Any, ask: Callable[[Path], int] = free_bytes_of) -> None:
        self.bytes: int | None = None
        self._folder = folder
        self._log = log
        self._ask = ask
        self._failed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="free-space")

    async def watch(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    self.bytes = await loop.run_in_executor(self._thread, self._ask, self._folder)
                    self._failed = False
                except OSError as error:
                    if not self._failed:
                        self._log.warning("free_space_unknown", folder=str(self._folder), reason=str(error))
                    self._failed = True
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)


class SyncTimes:
    """How long the syncs of groups take. Times are monotonic seconds; a group's turn in the thread counts as well,
    because its acknowledgements wait for that too. `stuck_after_s` is how long anybody waits for an acknowledgement.
    """

    def __init__(self, stuck_after_s: float) -> None:
        self.last_s = 0.0
        self._stuck_after_s = stuck_after_s
        self._began_at: float | None = None  # of the one under way
        self._ended_at = -math.inf
        self._lately_s = 0.0  # smoothed by time, not by count; one long sync counts for no more than a hung one

    def begin(self, now: float) -> None:
        """Note that a group is given to the disk."""
        self._began_at = now

    def end(self, now: float) -> None:
        """Note that it is durable."""
        assert self._began_at is not None
        self.last_s = now - self._began_at
        self._began_at = None
        weight = 1 - math.exp((self._ended_at - now) / _SMOOTHING_S)
        self._lately_s += weight * (min(self.last_s, HUNG_SYNC_S) - self._lately_s)
        self._ended_at = now

    def under_way_s(self, now: float) -> float:
        """Return the age of the sync under way; 0 when none is."""
        return 0.0 if self._began_at is None else now - self._began_at

    def state(self, now: float) -> str:
        """Return "stuck" while nothing is acknowledged in time, "slow" when the disk is, or was of late, slower than a
        disk should be, and else "ok".
        """
        under_way_s = self.under_way_s(now)
        if under_way_s >= self._stuck_after_s:
            return "stuck"
        slow_of_late = self._lately_s >= SLOW_SYNC_S and now - self._ended_at < _FORGET_S
        return "slow" if under_way_s >= HUNG_SYNC_S or slow_of_late else "ok"
