"""Readings a second that the node takes, stores and refuses: from the counters in heartbeats. Pure."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from hseie.answers import Rates

SAMPLE_S = 2.0
# Heartbeats come every half second, so that the difference of two samples alone would show their beat.
SPAN_SAMPLES = 5
PAST_SAMPLES = 450  # the last 15 minutes
# After a silence nobody knows how what was counted meanwhile was spread over it: the line is broken there.
GAP_S = 3 * SAMPLE_S

_NAMES = ("received", "committed", "rejected")

# A life of a process (counters begin anew with each) and its counters.
_Counters = dict[tuple[str, int], Mapping[str, int]]


class Throughput:
    """The rates of the last 15 minutes."""

    def __init__(self) -> None:
        self.past: deque[Rates] = deque(maxlen=PAST_SAMPLES)
        self._known: _Counters = {}
        self._totals: deque[tuple[float, Counter[str]]] = deque(maxlen=SPAN_SAMPLES + 1)

    @property
    def latest(self) -> Rates | None:
        return self.past[-1] if self.past else None

    def add(self, processes: Sequence[Mapping[str, Any]], at: float, now: float) -> None:
        """Take a sample of the processes in the supervisor's answer at Unix time `at`; `now` is monotonic. Seconds."""
        if self._totals and now - self._totals[-1][0] > GAP_S:
            self._totals.clear()
        found = {(row["name"], row["pid"] or 0): counters(row) for row in processes if row.get("stats")}
        total = Counter(self._totals[-1][1]) if self._totals else Counter[str]()
        if self._totals:
            for life, values in found.items():
                former = self._known.get(life, {})
                total.update({name: max(0, value - former.get(name, 0)) for name, value in values.items()})
        self._known = {life: values for life, values in {**self._known, **found}.items() if _lives(life, processes)}
        self._totals.append((now, total))
        (first_s, first), (last_s, last) = self._totals[0], self._totals[-1]
        if last_s > first_s:
            rates = {name: round((last[name] - first[name]) / (last_s - first_s), 1) for name in _NAMES}
            self.past.append(Rates(at=at, **rates))


def _lives(life: tuple[str, int], processes: Sequence[Mapping[str, Any]]) -> bool:
    return any((row["name"], row["pid"] or 0) == life for row in processes)


def counters(row: Mapping[str, Any]) -> dict[str, int]:
    """Return what a process counts of the three."""
    stats = row["stats"]
    if row["role"] == "acceptor":
        return {"received": stats.get("readings", 0), "rejected": stats.get("rejected", 0)}
    if row["role"] == "writer":
        return {"committed": sum(kind.get("stored", 0) for kind in stats.get("kinds", {}).values())}
    return {}
