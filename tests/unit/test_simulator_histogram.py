"""Percentiles from buckets against those of a sorted list."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.histogram import LARGEST_US, LatencyHistogram, bucket_of, upper_bound_us


@given(st.integers(0, LARGEST_US))
def test_a_bucket_holds_its_values_and_is_narrow(value: int) -> None:
    bucket = bucket_of(value)
    top = upper_bound_us(bucket)
    assert value <= top <= value * (1 + 1 / 64)
    assert bucket_of(top) == bucket
    assert bucket_of(top + 1) == bucket + 1


@given(st.lists(st.integers(0, 10_000_000), min_size=1), st.sampled_from([0, 50, 90, 95, 99, 99.9, 100]))
def test_percentiles_agree_with_a_sorted_list(values: list[int], percent: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        # Half a microsecond more, so that the way through seconds cannot round it down.
        histogram.record((value + 0.5) / 1_000_000)
    exact_us = sorted(values)[max(1, ceil(percent * len(values) / 100)) - 1]
    found = histogram.percentile_ms(percent)
    assert found is not None
    assert exact_us <= found * 1000 + 1e-6
    assert found * 1000 <= exact_us * (1 + 1 / 64) + 1e-6


def test_the_largest_is_exact_and_what_is_beyond_is_capped() -> None:
    histogram = LatencyHistogram()
    histogram.record(0.123457)
    assert histogram.percentile_ms(100) == pytest.approx(123.457, abs=0.002)
    histogram.record(1e9)
    histogram.record(-1.0)
    assert histogram.max_us == LARGEST_US
    assert histogram.percentile_ms(0) == 0


def test_an_empty_histogram_has_no_percentiles() -> None:
    assert LatencyHistogram().percentile_ms(50) is None
