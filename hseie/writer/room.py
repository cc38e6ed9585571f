"""Whether a shard may take another frame: room in its journal, on its disk, and for what waits for a sync.

Two of the limits have a second mark: once reached, they count as reached until there is some room again, so that a
writer at its limit does not change its mind with every frame. Pure.
"""

from dataclasses import dataclass

from hseie.frames import DISK_FULL, JOURNAL_FULL, OVERLOADED

_DISK_MARGIN_BYTES_MAX = 64 << 20  # a quarter of the floor, and no more than this


def is_journal_full(was_full: bool, used: int, used_max: int, low_water_pct: int) -> bool:
    """Tell whether a journal takes no more: above `used_max` bytes, and then until it is below the low-water mark."""
    return used > used_max or (was_full and used * 100 >= used_max * low_water_pct)


def is_disk_full(was_full: bool, free: int | None, free_min: int) -> bool:
    """Tell whether too little is free: less than `free_min` bytes, and then until there is some more than that.

    A `free_min` of 0 turns the question off; `free` is None while nobody has looked yet.
    """
    if not free_min or free is None:
        return False
    margin = min(free_min // 4, _DISK_MARGIN_BYTES_MAX)
    return free < free_min or (was_full and free < free_min + margin)


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a shard, by the keys of the configuration."""

    journal_bytes_max: int
    journal_low_water_pct: int
    disk_free_bytes_min: int
    gathering_bytes_max: int
    ack_timeout_s: float


class Room:
    """Remembers which limits are reached. `reason` of the last look is None where there was room."""

    def __init__(self, limits: Limits) -> None:
        self.reason: str | None = None
        self._limits = limits
        self._journal_full = False
        self._disk_full = False

    def look(self, journal_bytes: int, gathering_bytes: int, free_bytes: int | None) -> str | None:
        """Return why no frame can be taken now (a reason of REFUSED), or None.

        `gathering_bytes` arrived and are not synced: they are memory now and journal soon.
        """
        limits = self._limits
        self._disk_full = is_disk_full(self._disk_full, free_bytes, limits.disk_free_bytes_min)
        self._journal_full = is_journal_full(
            self._journal_full, journal_bytes + gathering_bytes, limits.journal_bytes_max, limits.journal_low_water_pct
        )
        if self._disk_full:
            self.reason = DISK_FULL
        elif self._journal_full:
            self.reason = JOURNAL_FULL
        else:
            self.reason = OVERLOADED if gathering_bytes > limits.gathering_bytes_max else None
        return self.reason

    def excess_bytes(self, journal_bytes: int) -> int:
        """Return how much the journal has to shrink before it takes again."""
        return max(0, journal_bytes - self._limits.journal_bytes_max * self._limits.journal_low_water_pct // 100)
