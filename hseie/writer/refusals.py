"""How many lines PostgreSQL may refuse before that is taken for a mistake in the schema instead of in the lines."""

from collections import deque

_WINDOW_S = 60.0


class TooManyRefusedError(Exception):
    """So many lines are refused that the tables must be wrong, not the lines. Nothing was stored."""


class SwallowedError(Exception):
    """PostgreSQL took fewer lines than it was given, and said nothing. Nothing was stored; an operator has to look."""


class RefusalBudget:
    """Refused lines of the last minute. Times are monotonic seconds."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._spent: deque[tuple[float, int]] = deque()

    def left(self, now: float) -> int:
        """Return how many more lines may be parked now."""
        return max(0, self._per_minute - self.spent(now))

    def spent(self, now: float) -> int:
        """Return how many lines were parked in the last minute."""
        while self._spent and self._spent[0][0] <= now - _WINDOW_S:
            self._spent.popleft()
        return sum(count for _, count in self._spent)

    def spend(self, now: float, count: int) -> None:
        """Note that `count` lines were parked."""
        if count:
            self._spent.append((now, count))
