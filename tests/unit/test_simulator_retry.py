"""Which answers are tried again, how long after, and how often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.retry import RetryPolicy, retry_after_s

POLICY = RetryPolicy(attempts=4, first_s=0.1, longest_s=1.0, patience_s=60.0)


@pytest.mark.parametrize("status", [429, 502, 503, 504, None])
def test_what_is_wrong_for_now_is_tried_again(status: int | None) -> None:
    assert POLICY.delay_s(status, 1, 0.0, 0.5) is not None


@pytest.mark.parametrize("status", [200, 202, 207, 301, 400, 401, 404, 408, 409, 413, 415, 422, 500, 501, 505])
def test_every_other_answer_is_final(status: int) -> None:
    assert POLICY.delay_s(status, 1, 0.0, 0.5) is None


def test_attempts_are_bounded() -> None:
    assert POLICY.delay_s(503, 3, 0.0, 0.5) is not None
    assert POLICY.delay_s(503, 4, 0.0, 0.5) is None


@given(st.integers(1, 3), st.floats(0, 60), st.floats(0, 1, exclude_max=True))
def test_the_wait_is_never_shorter_than_retry_after_and_bounded(attempt: int, after_s: float, draw: float) -> None:
    delay = POLICY.delay_s(503, attempt, after_s, draw)
    assert delay is not None
    assert after_s + POLICY.first_s / 2 <= delay <= after_s + POLICY.longest_s


def test_the_back_off_doubles_and_is_jittered() -> None:
    assert [POLICY.delay_s(503, n, 0.0, 1.0) for n in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
    assert POLICY.delay_s(503, 1, 0.0, 0.0) == pytest.approx(0.05)


def test_many_attempts_do_not_overflow_the_longest_wait() -> None:
    assert RetryPolicy(attempts=1000).delay_s(None, 900, 0.0, 1.0) == 10.0


def test_a_wait_beyond_patience_is_not_waited_for_and_not_undercut() -> None:
    assert POLICY.delay_s(503, 1, 61.0, 0.5) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0.0),
        ("5", 5.0),
        (" 7 ", 7.0),
        ("soon", 0.0),
        ("-3", 0.0),
        ("²", 0.0),
        ("", 0.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0.0),
    ],
)
def test_retry_after_as_a_number_and_as_a_date(text: str | None, seconds: float) -> None:
    assert retry_after_s(text, now_s=784111777.0) == seconds
