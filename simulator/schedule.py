"""When readings are made: ticks on the wall clock, ticks on a virtual clock in the past, phases and drift.

All times are Unix milliseconds; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from math import gcd
from typing import NamedTuple

DRIFT_MS = 5000
FASTEST_SINGLE = 100_000
FASTEST_BATCHED = 400_000
"""Readings/s that no run exceeds, one reading a request and in batches: to choose a virtual cadence beforehand."""


class Tick(NamedTuple):
    """The start of one round of the fleet; ``starts_over`` when the virtual clock has gone back."""

    at_ms: int
    starts_over: bool = False


def phase_ms(index: int, devices: int, cadence_ms: int) -> int:
    """The moment within a cadence at which device ``index`` of ``devices`` reports: evenly spread."""
    return index * cadence_ms // devices


def drift_limit_ms(cadence_ms: int) -> int:
    """The furthest a device's clock is off: 5 s, or an eighth of a short cadence.

    The two readings of a pair are then at most a quarter of the cadence apart, so each is nearer to the
    other than to any reading of the tick before or after.
    """
    return min(DRIFT_MS, cadence_ms // 8)


def live_ticks(start_ms: int, cadence_ms: int) -> Iterator[Tick]:
    """Ticks from ``start_ms`` at the cadence, for ever."""
    for at_ms in count(start_ms, cadence_ms):
        yield Tick(at_ms)


def virtual_cadence_ms(
    interval_ms: int, history_ms: int, devices: int, batch: int, ticks: int | None, duration_s: float | None
) -> int:
    """The cadence of the virtual clock at full rate: the real one, or as short as the run needs to fit the history.

    A run limited by time alone is taken for as fast as a run can be.
    """
    if ticks is None and duration_s is not None:
        fastest = FASTEST_SINGLE if batch == 1 else FASTEST_BATCHED
        ticks = int(duration_s * fastest / (2 * devices))
    if ticks is None:
        return interval_ms
    return max(1, min(interval_ms, history_ms // (ticks + 2)))


def past_ticks(now_ms: int, cadence_ms: int, history_ms: int) -> Iterator[Tick]:
    """Ticks for a run at full rate: from ``history_ms`` ago towards now, and never past it.

    When the clock has come near to now it goes back and takes the same span again, each tick shifted by a
    fraction of the cadence not used yet; when all are used (a cadence of n ms has n), the span before. So no
    two ticks are ever alike, and they stay within few days. Two cadences are left free before now, for the
    devices' phases and the shift.
    """
    span_ms = max(history_ms, 3 * cadence_ms)
    ticks = span_ms // cadence_ms - 2
    stride = _spreading_stride(cadence_ms)
    turn = 0
    while True:
        shift = turn % cadence_ms * stride % cadence_ms
        base = now_ms - DRIFT_MS - span_ms * (1 + turn // cadence_ms) + shift
        for k in range(ticks):
            yield Tick(base + k * cadence_ms, starts_over=turn > 0 and k == 0)
        turn += 1


def _spreading_stride(cadence_ms: int) -> int:
    """A stride prime to the cadence, near its golden section: its multiples visit every ms and spread well."""
    stride = max(1, int(cadence_ms * 0.618))
    while gcd(stride, cadence_ms) != 1:
        stride += 1
    return stride
