"""How much a key may send: a token bucket over a total that several processes add to. Pure; time is an argument."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """What is left of a key's burst, as one process sees it.

    `total` is what all processes together had spent on the key at `at`, monotonic seconds. A look takes off what was
    added since. So everybody who knows the total knows the level, and nobody has to be asked.
    """

    level: float
    total: int
    at: float

    def look(self, total: int, now: float, per_s: float, burst: float) -> float:
        """Return the level at `now`, when the total is `total`; not above `burst`, below zero after an overdraft.

        What the others have spent counts as spent right after the last look: whoever looks once in T seconds sees up
        to T times `per_s` too much, but only while the bucket is full, so never of a key that is at its limit.
        """
        passed_s = max(now - self.at, 0.0)
        self.level = min(burst, self.level + per_s * passed_s - (total - self.total))
        self.total = total
        self.at = max(now, self.at)
        return self.level

    def spend(self, amount: int) -> None:
        """Take off what this process has just added to the total."""
        self.level -= amount
        self.total += amount


def wait_s(level: float, per_s: float, burst: float) -> float:
    """Return how long until a bucket has enough for a request, one; 0 when it has. One that nothing refills: for ever.

    What comes with the request may be more: it then overdraws, and is paid off before the next one is let in.
    """
    missing = min(1.0, burst) - level
    if missing <= 0:
        return 0.0
    return missing / per_s if per_s > 0 else float("inf")
