"""What the supervisor decides about the end of a process."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.config import Supervisor
from hseie.errors import ExitCode
from hseie.supervisor.policy import (
    STARTS_MAX,
    Judgement,
    Verdict,
    count_failure,
    describe_exit,
    drain_share_s,
    is_stuck,
    judge,
    own_delay_s,
    restart_delay_s,
)

SETTINGS = Supervisor(
    heartbeat_ms=500,
    heartbeat_timeout_ms=15_000,
    restart_delay_ms=100,
    restart_delay_max_ms=10_000,
    restart_reset_ms=30_000,
)


@pytest.mark.parametrize(
    ("exit_code", "once", "node_was_ready", "failures", "expected"),
    [
        (0, True, False, 1, Judgement(Verdict.DONE)),
        (0, False, True, 1, Judgement(Verdict.RESTART)),
        (1, False, True, 1, Judgement(Verdict.RESTART)),
        (-9, False, True, 1, Judgement(Verdict.RESTART)),
        (1, False, True, 1_000_000, Judgement(Verdict.RESTART)),
        (74, False, False, 1, Judgement(Verdict.RESTART)),
        (1, False, False, STARTS_MAX - 1, Judgement(Verdict.RESTART)),
        (1, False, False, STARTS_MAX, Judgement(Verdict.STOP_NODE, ExitCode.UNAVAILABLE)),
        (1, True, False, STARTS_MAX, Judgement(Verdict.STOP_NODE, ExitCode.UNAVAILABLE)),
        (78, True, False, 1, Judgement(Verdict.STOP_NODE, ExitCode.CONFIG)),
        (78, False, True, 1, Judgement(Verdict.STOP_NODE, ExitCode.CONFIG)),
        (77, False, True, 1, Judgement(Verdict.STOP_NODE, ExitCode.FENCED)),
        (77, False, False, 1, Judgement(Verdict.STOP_NODE, ExitCode.FENCED)),
    ],
)
def test_judge(exit_code: int, once: bool, node_was_ready: bool, failures: int, expected: Judgement) -> None:
    assert judge(exit_code, once=once, node_was_ready=node_was_ready, failures=failures) == expected


def test_a_configuration_that_came_by_a_reload_ends_no_node() -> None:
    for exit_code, expected in ((78, Verdict.RESTART), (77, Verdict.STOP_NODE), (1, Verdict.RESTART)):
        judged = judge(exit_code, once=False, node_was_ready=True, failures=9, on_trial=True)
        assert judged.verdict is expected


def test_the_delay_doubles_up_to_its_maximum() -> None:
    delays = [restart_delay_s(failures, SETTINGS) for failures in range(1, 10)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


@given(st.integers(min_value=0, max_value=10**9))
def test_the_delay_is_never_zero_and_never_above_the_maximum(failures: int) -> None:
    assert 0.1 <= restart_delay_s(failures, SETTINGS) <= 10.0


def test_a_long_life_starts_the_count_again() -> None:
    assert count_failure(7, 29.9, SETTINGS) == 8
    assert count_failure(7, 30.0, SETTINGS) == 1


@pytest.mark.parametrize(
    ("now", "started", "last_beat", "expected"),
    [
        (100.0, 0.0, 90.0, False),
        (100.0, 0.0, 85.0, False),
        (100.1, 0.0, 85.0, True),
        (30.0, 0.0, None, False),  # a slow start gets twice the time
        (30.1, 0.0, None, True),
    ],
)
def test_is_stuck(now: float, started: float, last_beat: float | None, expected: bool) -> None:
    assert is_stuck(now, started, last_beat, SETTINGS) is expected


def test_only_an_absence_of_the_supervisor_counts_as_its_delay() -> None:
    assert own_delay_s(now=10.5, last_look=10.0, look_every_s=0.5) == 0.0
    assert own_delay_s(now=10.9, last_look=10.0, look_every_s=0.5) == 0.0
    assert own_delay_s(now=40.5, last_look=10.0, look_every_s=0.5) == 30.0


@given(st.floats(min_value=0.1, max_value=1000), st.integers(min_value=1, max_value=20))
def test_the_groups_of_a_drain_stay_within_the_time_together(total_s: float, groups: int) -> None:
    remaining = total_s
    for index in range(groups):
        share = drain_share_s(remaining, groups - index)
        assert share >= 0
        remaining -= share
    assert remaining == pytest.approx(0, abs=1e-6)
    assert drain_share_s(-3.0, 2) == 0.0


def test_an_end_in_words() -> None:
    assert describe_exit(74, "the sync failed") == "exit 74: the sync failed"
    assert describe_exit(-signal.SIGKILL, "") == "killed by SIGKILL"
    assert describe_exit(-200, "") == "killed by signal 200"
