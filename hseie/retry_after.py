"""When a client that was sent away shall come again: the `Retry-After` of every 503, in whole seconds (RFC 9110).

Who refuses knows how much stands in the way and how fast that shrinks, and estimates when there will be room. The
answer adds jitter, so that a fleet that was sent away in one second does not come back in one. Pure: time and chance
come in as arguments.
"""

import math

RETRY_AFTER_MAX_S = 60
# Longer estimates, and those from a rate that is unknown or zero, count as this: nobody knows when a database is back.
ESTIMATE_MAX_S = 30.0


class Rate:
    """How fast something moves, in its unit a second, from its running total; smoothed over about `smoothing_s`."""

    def __init__(self, smoothing_s: float) -> None:
        self.per_s: float | None = None  # unknown until two totals were noted
        self._smoothing_s = smoothing_s
        self._total = 0.0
        self._noted_at: float | None = None

    def note(self, total: float, now: float) -> None:
        """Take the total as it is at `now`, monotonic seconds."""
        if self._noted_at is not None:
            passed = now - self._noted_at
            if passed <= 0:
                return
            lately = (total - self._total) / passed
            weight = 1 - math.exp(-passed / self._smoothing_s)
            self.per_s = lately if self.per_s is None else self.per_s + weight * (lately - self.per_s)
        self._total = total
        self._noted_at = now


def seconds_for(amount: float, per_s: float | None, at_most_s: float) -> float:
    """Return how long `amount` takes at a rate; `at_most_s` also where the rate is unknown or nothing moves."""
    if amount <= 0:
        return 0.0
    return min(at_most_s, amount / per_s) if per_s and per_s > 0 else at_most_s


def retry_after_s(estimate_s: float, draw: float) -> int:
    """Return the seconds to answer with: between the estimate and half as much again plus one second, from 1 to 60.

    `draw` is uniform in [0, 1). Estimates are cut before the jitter, so that also the longest are spread.
    """
    estimate = min(max(estimate_s, 0.0), ESTIMATE_MAX_S)
    seconds = math.ceil(estimate + draw * (0.5 * estimate + 1))
    return min(max(seconds, 1), RETRY_AFTER_MAX_S)
