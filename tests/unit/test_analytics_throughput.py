"""Rates from the counters of heartbeats, through restarts and silences."""

from typing import Any

from hseie.analytics import throughput
from hseie.analytics.throughput import Throughput


def _acceptor(readings: int, pid: int = 1, rejected: int = 0) -> dict[str, Any]:
    return {"name": "acceptor-0", "role": "acceptor", "pid": pid, "stats": {"readings": readings, "rejected": rejected}}


def _writer(stored: int) -> dict[str, Any]:
    kinds = {"meter": {"stored": stored}, "vehicle": {"stored": stored}}
    return {"name": "writer-0", "role": "writer", "pid": 2, "stats": {"shard": 0, "kinds": kinds}}


def _received(rates: Throughput) -> list[float]:
    return [one.received for one in rates.past]


def test_what_was_counted_before_the_first_sample_is_in_no_rate() -> None:
    rates = Throughput()
    rates.add([_acceptor(1_000_000)], 0.0, 0.0)
    assert rates.latest is None
    rates.add([_acceptor(1_000_100, rejected=4), _writer(0)], 2.0, 2.0)
    assert rates.latest is not None
    assert (rates.latest.received, rates.latest.rejected) == (50.0, 2.0)


def test_both_kinds_of_a_writer_are_committed() -> None:
    rates = Throughput()
    for second, stored in ((0, 10), (2, 20)):
        rates.add([_writer(stored)], second, second)
    assert [one.committed for one in rates.past] == [10.0]


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rates = Throughput()
    for number in range(12):
        rates.add([_acceptor(100 if number >= 3 else 0)], 2.0 * number, 2.0 * number)
    assert _received(rates) == [0.0, 0.0, 16.7, 12.5, 10.0, 10.0, 10.0, 0.0, 0.0, 0.0, 0.0]


def test_a_new_life_counts_from_zero_and_a_moment_without_a_heartbeat_costs_nothing() -> None:
    rates = Throughput()
    rates.add([_acceptor(1000)], 0.0, 0.0)
    rates.add([{**_acceptor(0), "stats": {}}], 2.0, 2.0)
    rates.add([_acceptor(1040)], 4.0, 4.0)
    assert _received(rates) == [0.0, 10.0]
    rates.add([_acceptor(20, pid=7)], 6.0, 6.0)
    assert _received(rates)[-1] == 10.0


def test_after_a_silence_it_begins_anew() -> None:
    rates = Throughput()
    rates.add([_acceptor(0)], 0.0, 0.0)
    rates.add([_acceptor(5000)], 60.0, 60.0)
    rates.add([_acceptor(5020)], 62.0, 62.0)
    assert _received(rates) == [10.0]


def test_fifteen_minutes_are_kept() -> None:
    rates = Throughput()
    for number in range(throughput.PAST_SAMPLES + 10):
        rates.add([_acceptor(number)], 2.0 * number, 2.0 * number)
    assert len(rates.past) * throughput.SAMPLE_S == 900
