"""Which answers may be tried again, and when."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

RETRYABLE = frozenset({429, 502, 503, 504})
"""OTLP's table: these mean "wrong for now". Every other answer is final."""


def retry_after_s(text: str | None, now_s: float) -> float:
    """Seconds of a Retry-After header, given as a number or as a date; 0 when absent or unreadable."""
    if text is None:
        return 0.0
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounded attempts with exponential, jittered back-off that never undercuts the server's Retry-After."""

    attempts: int = 8
    first_s: float = 0.1
    longest_s: float = 10.0
    patience_s: float = 60.0
    """A server that asks for a longer wait than this is given up on."""

    def delay_s(self, status: int | None, attempt: int, after_s: float, draw: float) -> float | None:
        """Seconds to wait before the next attempt, or None when there is none.

        ``status`` is None when no answer came; ``attempt`` counts from 1; ``draw`` is uniform in 0..1. The
        jitter is at least half a back-off and comes on top of Retry-After, so that devices sent away
        together do not come back together.
        """
        if status is not None and status not in RETRYABLE:
            return None
        if attempt >= self.attempts or after_s > self.patience_s:
            return None
        backoff: float = min(self.longest_s, self.first_s * 2 ** (attempt - 1))
        return after_s + backoff * (0.5 + 0.5 * draw)
