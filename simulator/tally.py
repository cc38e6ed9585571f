"""The counts of a run, and its summary."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from simulator.answers import Verdict
from simulator.disturbance import LATE, MALFORMED, REPEAT
from simulator.histogram import LatencyHistogram
from simulator.posts import Post

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass
class Tally:
    """Counts since the start. Requests are counted when they are over, attempts when they are answered."""

    requests: int = 0
    readings: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    failed: int = 0
    unknown: int = 0
    retried: int = 0
    overdue: int = 0
    miscounted: int = 0
    in_flight: int = 0
    no_access_told: bool = False
    statuses: Counter[int] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)

    def answered(self, status: int, seconds: float) -> None:
        """Note one answer, final or not."""
        self.statuses[status] += 1
        self.latency.record(seconds)

    def no_access(self, refusal: str) -> None:
        """Say that the server does not let us in: at once, and once."""
        if not self.no_access_told:
            self.no_access_told = True
            print(f"simulator: the server refuses access: {refusal}", file=sys.stderr)

    def finished(self, post: Post, verdict: Verdict) -> None:
        """Note what became of a request."""
        count = len(post.readings)
        self.requests += 1
        self.readings += count
        self.accepted += verdict.accepted
        self.duplicates += verdict.duplicates
        self.rejected += verdict.rejected
        self.failed += verdict.failed
        self.unknown += verdict.unknown
        if verdict.accepted + verdict.duplicates + verdict.rejected + verdict.failed + verdict.unknown != count:
            self.miscounted += 1
        for reading in post.readings:
            if reading.mark:
                self.marks[reading.mark] += 1

    def latency_ms(self) -> dict[str, float | None]:
        """Latency percentiles in ms, of every answer; of an overdue request counted from when it was due."""
        found = {f"p{percent:g}": self.latency.percentile_ms(percent) for percent in PERCENTILES}
        return found | {"max": self.latency.max_us / 1000 if self.latency.count else None}

    def summary(self, duration_s: float) -> dict[str, Any]:
        """Everything counted, ready for JSON. Rates are over the whole duration."""
        seconds = max(duration_s, 1e-9)
        return {
            "duration_s": round(duration_s, 3),
            "requests": self.requests,
            "readings": self.readings,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "failed": self.failed,
            "unknown": self.unknown,
            "retried": self.retried,
            "overdue": self.overdue,
            "miscounted": self.miscounted,
            "malformed_sent": self.marks[MALFORMED],
            "late_sent": self.marks[LATE],
            "repeated_sent": self.marks[REPEAT],
            "readings_per_s": round(self.readings / seconds, 1),
            "requests_per_s": round(self.requests / seconds, 1),
            "latency_ms": self.latency_ms(),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
        }
