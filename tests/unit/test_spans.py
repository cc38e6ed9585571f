"""How a window is divided into what rollups answer and what readings do."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hseie.analytics.rolled import DAY, HOUR, floor
from hseie.analytics.spans import Division, Trust, divide, widened

MIDNIGHT = datetime(2026, 2, 9, tzinfo=UTC)


def _at(hours: float, days: int = 0) -> datetime:
    return MIDNIGHT + timedelta(days=days, hours=hours)


def test_without_rollups_all_is_read() -> None:
    assert divide(_at(0), _at(48), Trust(None)) == Division(raw=[(_at(0), _at(48))])


def test_a_day_that_ends_now_is_hours_between_two_edges() -> None:
    found = divide(_at(12.5), _at(36.75), Trust(_at(36)))
    assert found == Division(hours=[(_at(13), _at(36))], raw=[(_at(12.5), _at(13)), (_at(36), _at(36.75))])


def test_whole_days_come_before_hours() -> None:
    found = divide(_at(22), _at(1, days=3), Trust(_at(0, days=9)))
    assert found == Division(days=[(_at(24), _at(72))], hours=[(_at(22), _at(24)), (_at(72), _at(73))])


def test_a_day_is_rolled_up_when_it_is_over() -> None:
    assert divide(_at(0), _at(24), Trust(_at(23))) == Division(hours=[(_at(0), _at(23))], raw=[(_at(23), _at(24))])
    assert divide(_at(0), _at(24), Trust(_at(24))) == Division(days=[(_at(0), _at(24))])


def test_a_mark_spoils_its_hour_and_both_beside() -> None:
    found = divide(_at(0), _at(24), Trust(_at(99), marks=[_at(10)]))
    assert found == Division(hours=[(_at(0), _at(9)), (_at(12), _at(24))], raw=[(_at(9), _at(12))])
    # With an hour at the day's start, the day before is not as it was either.
    found = divide(_at(-24), _at(48), Trust(_at(99), marks=[_at(0)]))
    assert found.days == [(_at(24), _at(48))]
    assert found.raw == [(_at(-1), _at(2))]


def test_a_wide_tolerance_reaches_further() -> None:
    found = divide(_at(0), _at(24), Trust(_at(99), marks=[_at(10)], margin=timedelta(hours=2)))
    assert found.raw == [(_at(8), _at(13))]


def test_a_mark_of_a_register_spoils_all_that_follows() -> None:
    trust = Trust(_at(0, days=9), register_marks=[_at(40), _at(30)])
    found = divide(_at(0), _at(72), trust)
    assert found == Division(days=[(_at(0), _at(24))], hours=[(_at(24), _at(29))], raw=[(_at(29), _at(72))])


def test_what_is_not_kept_is_read() -> None:
    trust = Trust(_at(0, days=9), hours_from=_at(30), days_from=_at(24))
    assert divide(_at(0), _at(71), trust) == Division(
        days=[(_at(24), _at(48))], hours=[(_at(48), _at(71))], raw=[(_at(0), _at(24))]
    )
    assert divide(_at(25), _at(47), trust) == Division(hours=[(_at(30), _at(47))], raw=[(_at(25), _at(30))])


def test_of_days_that_were_given_up_there_are_rollups_only() -> None:
    trust = Trust(_at(0, days=9), marks=[_at(10)], register_marks=[_at(1)], given_up={date(2026, 2, 9)})
    assert divide(_at(0), _at(24), trust) == Division(days=[(_at(0), _at(24))])
    assert divide(_at(9), _at(12), trust) == Division(hours=[(_at(9), _at(12))])


def test_bounds_in_days_that_were_given_up_move_outwards() -> None:
    trust = Trust(_at(0, days=9), given_up={date(2026, 2, 9), date(2026, 2, 11)})
    assert widened(_at(1.25), _at(5.5), trust) == (_at(1), _at(6))
    assert widened(_at(1), _at(24), trust) == (_at(1), _at(24))
    assert widened(_at(30.5), _at(40.5), trust) == (_at(30.5), _at(40.5)), "that day has its readings"
    assert widened(_at(30.5), _at(48.5), trust) == (_at(30.5), _at(49))
    without_hours = Trust(_at(0, days=9), hours_from=_at(12), given_up={date(2026, 2, 9)})
    assert widened(_at(1.25), _at(5.5), without_hours) == (_at(0), _at(24))
    assert widened(_at(13.25), _at(15.5), without_hours) == (_at(13), _at(16))


moments = st.integers(-3000, 6000).map(lambda minutes: MIDNIGHT + timedelta(minutes=minutes))
hours = moments.map(lambda moment: floor(moment, HOUR))
trusts = st.builds(
    Trust,
    rolled_until=st.none() | hours,
    hours_from=st.none() | hours,
    days_from=st.none() | hours.map(lambda hour: floor(hour, DAY)),
    marks=st.lists(hours, max_size=3),
    register_marks=st.lists(hours, max_size=1),
    given_up=st.sets(moments.map(lambda moment: moment.date()), max_size=2),
)


@given(bounds=st.lists(moments, min_size=2, max_size=2, unique=True).map(sorted), trust=trusts)
def test_the_spans_are_the_window_and_rollups_are_trusted(bounds: list[datetime], trust: Trust) -> None:
    start, end = bounds
    found = divide(start, end, trust)
    spans = sorted(found.days + found.hours + found.raw)
    assert [spans[0][0], *(last for _, last in spans)] == [*(first for first, _ in spans), end]
    assert spans[0][0] == start
    day_may, hour_may = trust.judges()
    for first, last in found.days:
        assert (first, last) == (floor(first, DAY), floor(last, DAY))
        assert all(day_may(first + number * DAY) for number in range((last - first) // DAY))
    for first, last in found.hours:
        assert (first, last) == (floor(first, HOUR), floor(last, HOUR))
        assert all(hour_may(first + number * HOUR) for number in range((last - first) // HOUR))
    for first, last in found.raw:
        # No hour is read that a rollup could answer.
        hour = floor(first, HOUR)
        while hour < last:
            assert not (hour >= first and hour + HOUR <= last and hour_may(hour)), hour
            hour += HOUR
