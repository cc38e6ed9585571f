"""The rate limits of the keys, as one of several processes keeps them (`rate_limit` over `shared_counters`)."""

import hashlib
from dataclasses import dataclass

from hseie.access import Key
from hseie.rate_limit import Bucket, wait_s
from hseie.shared_counters import Seen, SharedCounters


@dataclass(slots=True)
class _Kept:
    key: Key
    owner: int  # the key in 64 bits, for the others: a place may have had another key before
    bucket: Bucket
    published: int  # the total at which the others were told last


class Rates:
    """Looks and spends. One a process; of each key it has met it keeps a bucket, so as many as there are places."""

    def __init__(self, counters: SharedCounters) -> None:
        self._counters = counters
        self._kept: dict[int, _Kept] = {}  # by place

    def wait_s(self, key: Key, now: float) -> float:
        """Return how long a key has to wait, 0 for not at all. `now` is monotonic seconds."""
        if not key.readings_per_s:
            return 0.0
        return wait_s(self._look(key, now), key.readings_per_s, key.burst_readings)

    def debt_wait_s(self, key: Key, now: float) -> float:
        """Return how long a key that was let in has to wait, because others have overdrawn it since; 0 for not at all.

        Below zero only: who was let in has paid for that already.
        """
        if not key.readings_per_s:
            return 0.0
        level = self._look(key, now)
        return wait_s(level, key.readings_per_s, key.burst_readings) if level < 0 else 0.0

    def spend(self, key: Key, amount: int) -> None:
        """Take off what a key that was looked at has sent; give it back where it is negative."""
        if not key.readings_per_s or not amount:
            return
        kept = self._kept.get(key.place)
        # A request may take longer than its key lasts: the place may be another's by now.
        if kept is not None and (kept.key is key or kept.key.key_id == key.key_id):
            self._counters.add(key.place, amount)
            kept.bucket.spend(amount)

    def look(self, now: float) -> None:
        """See what others have spent, and show how we see it; to be called some times a second."""
        self._counters.look()
        for place, kept in self._kept.items():
            total = self._counters.total(place)
            if total != kept.published:
                kept.bucket.look(total, now, kept.key.readings_per_s, kept.key.burst_readings)
                self._publish(kept)

    def _look(self, key: Key, now: float) -> float:
        kept = self._kept.get(key.place)
        if kept is None or kept.key is not key:
            kept = self._meet(key, now)
        return kept.bucket.look(self._counters.total(key.place), now, key.readings_per_s, key.burst_readings)

    def _meet(self, key: Key, now: float) -> _Kept:
        """Begin, or go on, with a key: as others see its bucket, where anybody has met it; full where nobody has."""
        former = self._kept.get(key.place)
        if former is not None and former.key.key_id == key.key_id:
            former.key = key  # it has been given other limits
            return former
        owner = int.from_bytes(hashlib.sha256(key.key_id.encode()).digest()[:8]) | 1
        self._counters.look()
        seen = self._counters.newest(key.place, owner, now)
        if seen is None:
            seen = Seen(key.burst_readings, self._counters.total(key.place), now)
        kept = _Kept(key, owner, Bucket(seen.level, seen.total, seen.at), seen.total)
        self._kept[key.place] = kept
        self._publish(kept)
        return kept

    def _publish(self, kept: _Kept) -> None:
        bucket = kept.bucket
        self._counters.publish(kept.key.place, kept.owner, Seen(bucket.level, bucket.total, bucket.at))
        kept.published = bucket.total
