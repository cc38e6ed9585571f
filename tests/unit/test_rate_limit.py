"""The token bucket, and what several processes make of one total."""

import math
import random

import pytest

from hseie.rate_limit import Bucket, wait_s


class Fleet:
    """Several processes with a bucket each, and the total between them."""

    def __init__(self, processes: int, per_s: float, burst: int) -> None:
        self.per_s, self.burst, self.total = per_s, burst, 0
        self.buckets = [Bucket(burst, 0, 0.0) for _ in range(processes)]

    def level(self, process: int, now: float) -> float:
        return self.buckets[process].look(self.total, now, self.per_s, self.burst)

    def send(self, process: int, readings: int, now: float) -> bool:
        """Whether a batch was let in."""
        if wait_s(self.level(process, now), self.per_s, self.burst):
            return False
        self.total += readings
        self.buckets[process].spend(readings)
        return True


def test_a_burst_goes_through_and_then_the_rate() -> None:
    fleet = Fleet(1, per_s=10, burst=50)
    assert [fleet.send(0, 1, 0.0) for _ in range(51)] == [*[True] * 50, False]
    assert [fleet.send(0, 1, 0.25) for _ in range(3)] == [True, True, False]  # two and a half
    assert fleet.level(0, 100.0) == 50


def test_a_batch_may_overdraw_and_is_paid_off() -> None:
    fleet = Fleet(1, per_s=10, burst=50)
    assert fleet.send(0, 1050, 0.0)
    assert wait_s(fleet.level(0, 0.0), 10, 50) == pytest.approx(100.1)
    assert not fleet.send(0, 1, 100.0)
    assert fleet.send(0, 1, 100.2)


def test_what_one_process_lets_in_is_taken_off_in_the_others_too() -> None:
    fleet = Fleet(2, per_s=1, burst=10)
    assert sum(fleet.send(number % 2, 1, 0.0) for number in range(40)) == 10


def test_who_has_not_looked_for_long_is_not_wrong_to_the_senders_disadvantage() -> None:
    fleet = Fleet(2, per_s=10, burst=50)
    for second in range(1, 61):  # all at the rate, by the first process alone
        assert fleet.send(0, 10, float(second))
    assert fleet.level(0, 60.0) <= fleet.level(1, 60.0) <= 50


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = Bucket(0.0, 0, 100.0)
    assert bucket.look(0, 90.0, 10, 50) == 0
    assert bucket.look(0, 100.0, 10, 50) == 0
    assert bucket.look(0, 101.0, 10, 50) == 10


def test_a_limit_that_was_lowered_holds_at_once() -> None:
    bucket = Bucket(50.0, 0, 0.0)
    assert bucket.look(0, 0.0, 1, 5) == 5


@pytest.mark.parametrize(
    ("level", "per_s", "burst", "expected"),
    [
        (1, 10, 50, 0),
        (0.5, 10, 50, 0.05),
        (0, 10, 50, 0.1),
        (-5, 10, 50, 0.6),
        (-5, 0, 50, math.inf),
        (0, 10, 0, 0),  # nobody may send at once, and yet one after the other
        (-1, 10, 0, 0.1),
    ],
)
def test_how_long_to_wait(level: float, per_s: float, burst: int, expected: float) -> None:
    assert wait_s(level, per_s, burst) == pytest.approx(expected)


def test_in_the_long_run_no_more_than_the_rate_whoever_is_asked() -> None:
    draw = random.Random(7)
    fleet = Fleet(3, per_s=100, burst=200)
    let_in = last = 0
    now = 0.0
    for _ in range(20_000):
        now += draw.expovariate(50)
        last = draw.randrange(1, 20)
        if fleet.send(draw.randrange(3), last, now):
            let_in += last
    assert let_in <= 200 + 100 * now + 20
    assert let_in >= 0.95 * 100 * now  # about ten a reading are asked for: what there is, is used
