"""Which day partitions are needed."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from hseie.maintenance.partitions import days_needed


def test_days_are_those_of_utc_with_today_first() -> None:
    east = datetime(2026, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=5)))  # still February in UTC
    assert [str(day) for day in days_needed(east, 2)] == ["2026-02-28", "2026-03-01", "2026-03-02", "2026-02-27"]


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.integers(min_value=1, max_value=366),
)
def test_days_are_contiguous(now: datetime, ahead_days: int) -> None:
    days = sorted(days_needed(now, ahead_days))
    assert days == [now.date() + timedelta(days=offset) for offset in range(-1, ahead_days + 1)]
