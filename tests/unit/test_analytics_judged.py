"""Pairs that are judged by any threshold: listed and counted as if each threshold had been asked for by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.alert_answers import AlertPair
from hseie.analytics.judged import JudgedPairs


def pair(efficiency: float, number: int = 0) -> AlertPair:
    return AlertPair(
        vehicle_id=f"V{number}",
        meter_id="M",
        efficiency_ratio=efficiency,
        total_energy_consumed_ac=1.0,
        total_energy_delivered_dc=1.0,
        lost=0.0,
        correlated=1,
        share=1.0,
    )


hundredths = st.integers(0, 100_000).map(lambda number: number / 100)
near = st.sampled_from([0.0, 84.99, 85.0, 85.01, 100.0])


@given(
    efficiencies=st.lists(hundredths | near, max_size=40),
    thresholds=st.lists(hundredths | near | st.floats(0, 1000), min_size=1),
    most=st.integers(1, 10),
)
def test_every_threshold_is_judged_as_if_by_itself(
    efficiencies: list[float], thresholds: list[float], most: int
) -> None:
    pairs = [pair(efficiency, number) for number, efficiency in enumerate(efficiencies)]
    judged = JudgedPairs.of(pairs, most)
    for threshold in thresholds:
        below = sorted((one for one in pairs if one.efficiency_ratio < threshold), key=lambda one: one.efficiency_ratio)
        found = judged.below(threshold)
        assert (list(found.worst), found.found, found.known) == (below[:most], len(below), len(pairs))


def test_those_that_are_not_kept_whole_are_counted() -> None:
    judged = JudgedPairs([pair(1.0), pair(2.0)], [1.0, 2.0, 50.0, 84.99], [1, 3, 1000, 7], 5000)
    assert [judged.below(threshold).found for threshold in (1, 2, 2.01, 84.99, 85, 1000)] == [0, 1, 4, 1004, 1011, 1011]
    assert [len(judged.below(threshold).worst) for threshold in (1, 2, 2.01, 1000)] == [0, 1, 2, 2]
    assert judged.below(85).known == 5000


@pytest.mark.parametrize("threshold", [0.0, 85.0, 1000.0])
def test_nothing_that_is_judged(threshold: float) -> None:
    found = JudgedPairs([], [], [], 3).below(threshold)
    assert (list(found.worst), found.found, found.known) == ([], 0, 3)
