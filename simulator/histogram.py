"""Latencies in a fixed amount of memory."""

from __future__ import annotations

SUB_BITS = 6
SUB_BUCKETS = 1 << SUB_BITS
LARGEST_US = (1 << 36) - 1
"""About 19 hours: nothing waits longer."""


def bucket_of(value_us: int) -> int:
    """Index of the bucket: exact below 128 µs, then 64 buckets for each doubling (1.6 % wide)."""
    shift = max(0, value_us.bit_length() - SUB_BITS - 1)
    return shift * SUB_BUCKETS + (value_us >> shift)


def upper_bound_us(bucket: int) -> int:
    """The largest value that falls into the bucket."""
    if bucket < 2 * SUB_BUCKETS:
        return bucket
    shift = bucket // SUB_BUCKETS - 1
    return ((bucket - shift * SUB_BUCKETS + 1) << shift) - 1


class LatencyHistogram:
    """Counts in logarithmic buckets; a percentile is off by less than 1.6 %, upwards."""

    def __init__(self) -> None:
        self.counts = [0] * (bucket_of(LARGEST_US) + 1)
        self.count = 0
        self.max_us = 0

    def record(self, seconds: float) -> None:
        value_us = min(LARGEST_US, max(0, int(seconds * 1_000_000)))
        self.counts[bucket_of(value_us)] += 1
        self.count += 1
        if value_us > self.max_us:
            self.max_us = value_us

    def percentile_ms(self, percent: float) -> float | None:
        """The latency in ms that ``percent`` % of the values do not exceed (nearest rank); None when empty."""
        if self.count == 0:
            return None
        rank = max(1, -int(-(percent * self.count) // 100))
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                return min(upper_bound_us(bucket), self.max_us) / 1000
        return self.max_us / 1000
