"""Retry-After: whole seconds from 1 to 60, from rates that were measured, spread so that a fleet does not return at
once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.problems import PROBLEMS, problem_answer
from hseie.retry_after import ESTIMATE_MAX_S, Rate, retry_after_s, seconds_for

estimates = st.floats(0, 1e9)
draws = st.floats(0, 1, exclude_max=True)


@given(estimates, draws)
def test_the_answer_is_in_bounds_and_not_before_the_estimate(estimate: float, draw: float) -> None:
    seconds = retry_after_s(estimate, draw)
    assert isinstance(seconds, int)
    assert 1 <= seconds <= 60
    assert min(estimate, ESTIMATE_MAX_S) <= seconds <= 1.5 * estimate + 2


@given(estimates)
def test_clients_sent_away_together_do_not_come_back_together(estimate: float) -> None:
    answers = {retry_after_s(estimate, number / 1000) for number in range(1000)}
    if estimate > 0.4:  # below, the answer is the least there is
        assert len(answers) >= 2
    if estimate >= 20:
        assert len(answers) > 10


def test_short_estimates_stay_short() -> None:
    assert {retry_after_s(0.5, draw / 10) for draw in range(10)} == {1, 2}


def test_every_answer_that_may_be_tried_again_draws_anew() -> None:
    for code, problem in PROBLEMS.items():
        assert (problem.retry_s > 0) == problem.retryable, code
        if problem.retryable:
            answers = {problem_answer(code).headers["Retry-After"] for _ in range(200)}
            assert len(answers) > 1, code
            assert all(1 <= int(text) <= 60 for text in answers)


def test_a_measured_estimate_wins_over_the_problems_own() -> None:
    answers = {int(problem_answer("overloaded", retry_s=20).headers["Retry-After"]) for _ in range(200)}
    assert min(answers) >= 20
    assert max(answers) <= 31


def test_a_rate_needs_two_totals() -> None:
    rate = Rate(5)
    assert rate.per_s is None
    rate.note(1000, 10.0)
    assert rate.per_s is None
    rate.note(1000, 10.0)  # no time has passed: nothing is known
    assert rate.per_s is None
    rate.note(3000, 12.0)
    assert rate.per_s == pytest.approx(1000)


def test_a_rate_follows_and_is_smoothed() -> None:
    rate = Rate(5)
    total = 0.0
    for second in range(30):
        rate.note(total, second)
        total += 100
    assert rate.per_s == pytest.approx(100)
    for second in range(30, 32):  # it has stopped
        rate.note(total - 100, second)
    assert rate.per_s is not None
    assert 50 < rate.per_s < 90
    for second in range(32, 90):
        rate.note(total - 100, second)
    assert rate.per_s < 0.01


@pytest.mark.parametrize(
    ("amount", "per_s", "expected"),
    [(100, 10, 10), (100, 1, 30), (100, None, 30), (100, 0.0, 30), (0, None, 0), (-5, 10, 0)],
)
def test_how_long_an_amount_takes(amount: float, per_s: float | None, expected: float) -> None:
    assert seconds_for(amount, per_s, at_most_s=30) == expected
