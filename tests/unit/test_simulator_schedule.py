"""The virtual clock: never in the future, never twice the same tick."""

from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.fleet import Fleet
from simulator.schedule import (
    DRIFT_MS,
    drift_limit_ms,
    live_ticks,
    past_ticks,
    phase_ms,
    virtual_cadence_ms,
)

NOW_MS = 1_770_000_000_000
HOUR_MS = 3_600_000


@settings(max_examples=200)
@given(st.integers(1, 5000), st.integers(DRIFT_MS + 1, 20_000))
def test_virtual_ticks_are_distinct_and_past_with_phase_and_drift(cadence_ms: int, history_ms: int) -> None:
    ticks = list(islice(past_ticks(NOW_MS, cadence_ms, history_ms), 3000))
    assert len({tick.at_ms for tick in ticks}) == 3000
    assert max(tick.at_ms for tick in ticks) + cadence_ms - 1 + DRIFT_MS < NOW_MS


def test_the_virtual_clock_goes_through_the_history_at_the_cadence() -> None:
    ticks = list(islice(past_ticks(NOW_MS, 60_000, 24 * HOUR_MS), 1438))
    assert {b.at_ms - a.at_ms for a, b in pairwise(ticks)} == {60_000}
    assert not any(tick.starts_over for tick in ticks)
    assert ticks[0].at_ms == NOW_MS - 24 * HOUR_MS - DRIFT_MS


def test_a_clock_that_reached_now_starts_over_in_between() -> None:
    ticks = list(islice(past_ticks(NOW_MS, 60_000, 24 * HOUR_MS), 2 * 1438))
    again = ticks[1438]
    assert again.starts_over
    assert ticks[0].at_ms < again.at_ms < ticks[1].at_ms
    assert [tick.starts_over for tick in ticks].count(True) == 1


def test_when_every_millisecond_is_used_the_span_before_follows() -> None:
    span = 6000
    ticks = [tick.at_ms for tick in islice(past_ticks(NOW_MS, 1000, span), 4 * 1000 + 4)]
    assert max(ticks[-4:]) < min(ticks[:-4])


def test_every_device_reports_each_instant_once_across_turns() -> None:
    fleet = Fleet(1, 3, 1, 0.0, 50)
    readings = fleet.readings(islice(past_ticks(NOW_MS, 50, 6000), 118 * 50))
    keys = [(next(iter(r.fields.values())), r.fields["timestamp"]) for _, r in readings]
    assert len(set(keys)) == len(keys) == 118 * 50 * 6


@pytest.mark.parametrize(
    ("ticks", "duration", "devices", "batch", "expected"),
    [
        (None, None, 10, 1, 60_000),
        (100, None, 10, 1, 60_000),
        (1438, None, 10, 1, 60_000),
        (14_398, None, 10, 1, 6000),
        (10**9, None, 10, 1, 1),
        (None, 60.0, 10_000, 1, 60_000),
        (None, 60.0, 10, 1, 287),
        (None, 0.0, 1, 1, 60_000),
    ],
)
def test_the_virtual_cadence_fits_the_run_into_the_history(
    ticks: int | None, duration: float | None, devices: int, batch: int, expected: int
) -> None:
    assert virtual_cadence_ms(60_000, 24 * HOUR_MS, devices, batch, ticks, duration) == expected


@given(st.integers(1, 60_000), st.integers(1, 86_400_000))
def test_a_run_of_known_length_needs_no_second_turn(ticks: int, history_ms: int) -> None:
    cadence = virtual_cadence_ms(60_000, max(history_ms, ticks + 2), 1, 1, ticks, None)
    span = max(history_ms, ticks + 2, 3 * cadence)
    assert span // cadence - 2 >= ticks


@given(st.integers(1, 500), st.integers(1, 100_000))
def test_phases_cover_the_cadence_evenly(devices: int, cadence_ms: int) -> None:
    phases = [phase_ms(i, devices, cadence_ms) for i in range(devices)]
    assert phases[0] == 0
    gaps = [b - a for a, b in zip(phases, [*phases[1:], cadence_ms], strict=True)]
    assert max(gaps) - min(gaps) <= 1


def test_drift_shrinks_with_a_short_cadence() -> None:
    assert [drift_limit_ms(c) for c in (7, 800, 20_000, 40_000, 60_000)] == [0, 100, 2500, 5000, 5000]


def test_live_ticks_go_on_at_the_cadence() -> None:
    assert [tick.at_ms for tick in islice(live_ticks(NOW_MS, 250), 3)] == [NOW_MS, NOW_MS + 250, NOW_MS + 500]
