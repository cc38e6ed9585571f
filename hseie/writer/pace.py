"""When the next flush is due."""


def seconds_until_due(
    now: float, last_flush: float, readings: int, urgent: bool, interval_s: float, readings_max: int
) -> float | None:
    """Return how long the next flush may wait; None when there is nothing to flush. Times are monotonic seconds."""
    if not readings:
        return None
    if urgent or readings >= readings_max:
        return 0.0
    return max(0.0, last_flush + interval_s - now)
