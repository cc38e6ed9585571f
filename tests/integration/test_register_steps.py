"""What the step of a register stands for: the functions in PostgreSQL against a twin written from their comments."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hseie.database import connect
from hseie.registers import REACH

STEP = "SELECT event, hseie_register_kwh(event, $1, $2) AS kwh FROM hseie_register_event($1, $2, $3, $4) AS event"


def twin(
    before: Decimal | None, after: Decimal, elapsed: timedelta, power_max_kw: Decimal
) -> tuple[str | None, Decimal]:
    """The event and the energy."""
    if before is None:
        return None, Decimal(0)
    microseconds = Decimal(elapsed // timedelta(microseconds=1))
    most = power_max_kw * microseconds / 3_600_000_000 + 1
    if after >= before:
        return (None, after - before) if after - before <= most else ("jump", Decimal(0))
    capacity = Decimal(10_000)
    while capacity <= before:
        capacity *= 10
    over = capacity - before + after
    if before >= capacity * 9 / 10 and over <= most:
        return "rollover", over
    return ("reset", after) if after <= most else ("replaced", Decimal(0))


class Bench:
    """Asks PostgreSQL, from tests that are no coroutines."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.connection: Any = self.runner.run(connect(url, "tests", 10))

    def step(
        self, before: Decimal | None, after: Decimal, elapsed: timedelta, kw: Decimal
    ) -> tuple[str | None, Decimal]:
        row = self.runner.run(self.connection.fetchrow(STEP, before, after, elapsed, kw))
        return row["event"], row["kwh"]

    def close(self) -> None:
        self.runner.run(self.connection.close())
        self.runner.close()


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    bench = Bench(database_url)
    yield bench
    bench.close()


MINUTE = timedelta(minutes=1)

# From 1000 kW, with one kWh to spare: 17.6666... in a minute.
STEPS = [
    (None, "123456.7891", MINUTE, None, "0"),
    ("0", "0", MINUTE, None, "0"),
    ("5.5", "5.5", MINUTE, None, "0"),
    ("0", "17.6666", MINUTE, None, "17.6666"),
    ("0", "17.6667", MINUTE, "jump", "0"),
    ("100", "999999.9999", MINUTE, "jump", "0"),
    ("100", "117.5", MINUTE, None, "17.5"),
    # A wire's timestamps may be a microsecond apart; then one kWh is all that is believed.
    ("100", "101", timedelta(microseconds=1), None, "1"),
    ("100", "101.0001", timedelta(microseconds=1), "jump", "0"),
    # A month off the network is a month's energy.
    ("100", "700100", timedelta(days=30), None, "700000"),
    ("999999.9999", "0", MINUTE, "rollover", "0.0001"),
    ("9999.5", "0.25", MINUTE, "rollover", "0.75"),
    ("99990", "7.6", MINUTE, "rollover", "17.6"),
    ("99990", "7.7", MINUTE, "reset", "7.7"),
    # Not at 10, 100 or 1000: no register has so few digits.
    ("9.5", "0.5", MINUTE, "reset", "0.5"),
    ("999.5", "0.5", MINUTE, "reset", "0.5"),
    # After a day much may have flown, but a register in the middle of its range has not rolled over.
    ("5000", "3", timedelta(days=1), "reset", "3"),
    ("9000", "3", timedelta(days=1), "rollover", "1003"),
    ("8999.9999", "3", timedelta(days=1), "reset", "3"),
    ("5000", "4999.9999", MINUTE, "replaced", "0"),
    ("5000", "17.6667", MINUTE, "replaced", "0"),
    ("5000", "17.6666", MINUTE, "reset", "17.6666"),
    ("5000", "0", MINUTE, "reset", "0"),
]


@pytest.mark.parametrize(("before", "after", "elapsed", "event", "kwh"), STEPS)
def test_steps(bench: Bench, before: str | None, after: str, elapsed: timedelta, event: str | None, kwh: str) -> None:
    former = Decimal(before) if before is not None else None
    assert bench.step(former, Decimal(after), elapsed, Decimal(1000)) == (event, Decimal(kwh))
    assert twin(former, Decimal(after), elapsed, Decimal(1000)) == (event, Decimal(kwh))


totals = st.one_of(
    st.integers(0, 9_999_999_999),
    st.sampled_from([0, 1, 9_999, 99_999_999, 90_000_000, 89_999_999, 9_999_999_999, 9_000_000_000, 176_666, 176_667]),
).map(lambda units: Decimal(units) / 10_000)
elapsed_times = st.one_of(
    st.timedeltas(timedelta(microseconds=1), timedelta(days=35)), st.sampled_from([MINUTE, timedelta(hours=1)])
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.none() | totals, after=totals, elapsed=elapsed_times, kw=st.sampled_from(["0.1", "11", "1000"]))
def test_the_step_is_that_of_the_rule(
    bench: Bench, before: Decimal | None, after: Decimal, elapsed: timedelta, kw: str
) -> None:
    event, kwh = bench.step(before, after, elapsed, Decimal(kw))
    assert (event, kwh) == twin(before, after, elapsed, Decimal(kw))
    # Never negative, never absurd.
    assert 0 <= kwh <= Decimal(kw) * Decimal(elapsed / timedelta(hours=1)) + Decimal("1.0001")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shown=totals,
    flown=st.integers(0, 200_000).map(lambda units: Decimal(units) / 10_000),
    misread=totals,
    gaps=st.tuples(elapsed_times, elapsed_times),
    kw=st.sampled_from(["0.1", "11", "1000"]),
)
@example(Decimal(9), Decimal("0.5"), Decimal(100_000), (MINUTE, MINUTE), "1000")  # too much: 9 kWh
@example(Decimal(5000), Decimal("0.5"), Decimal(9), (MINUTE, MINUTE), "1000")  # too much: 8.5 kWh
@example(Decimal(5), Decimal("0.1"), Decimal("99992"), (MINUTE, MINUTE), "1000")  # too much: 13 kWh
@example(Decimal(5), Decimal("0.1"), Decimal("22.6"), (MINUTE, MINUTE), "1000")  # too much: 22.6 kWh
@example(Decimal(5000), Decimal("0.5"), Decimal(100_000), (MINUTE, MINUTE), "1000")  # too little: 0.5 kWh
def test_one_misread_counts_for_no_more_than_can_have_flown_around_it(
    bench: Bench, shown: Decimal, flown: Decimal, misread: Decimal, gaps: tuple[timedelta, timedelta], kw: str
) -> None:
    """The bound of ARCHITECTURE.md: a reading is compared with the one before, whether that was right or not."""
    most = [Decimal(kw) * Decimal(gap / timedelta(hours=1)) + 1 for gap in gaps]
    assume(flown <= sum(most))
    _, to_misread = bench.step(shown, misread, gaps[0], Decimal(kw))
    _, from_misread = bench.step(misread, shown + flown, gaps[1], Decimal(kw))
    too_much = to_misread + from_misread - flown
    assert -flown <= too_much <= sum(most) - flown + Decimal("0.0001")


def test_both_sides_look_equally_far_back(bench: Bench) -> None:
    assert bench.runner.run(bench.connection.fetchval("SELECT hseie_register_reach()")) == REACH
