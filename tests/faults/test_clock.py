"""The wall clock of a running node is set an hour ahead and an hour back: only the window of acceptance moves."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import until_restarted
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, meter, now_text, prove_nothing_lost
from tests.system.node import Node, eventually

HOUR_S = 3600
DAY_S = 24 * HOUR_S
FUTURE_MAX_S = 300  # the default
SLACK_S = 120  # of a test that takes its time
DEVICES = 6  # on every shard one or more


class Clock:
    """The wall clock of a node, by its offset from the machine's."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset_s = 0

    def set(self, offset_s: int) -> None:
        aside = self._file.with_suffix(".new")
        aside.write_text(str(offset_s))
        aside.replace(self._file)
        self.offset_s = offset_s


def offer(node: Node, ledger: Ledger, ago_s: float, name: str) -> int:
    """Send a reading of that age; the status of its answer."""
    reading = meter(f"window-{name}", time=now_text(ago_s))
    answer = node.post("meter", reading)
    if answer.status == 202:
        ledger.note("meter", [reading])
    else:
        assert [error["pointer"] for error in answer.body["errors"]] == ["/timestamp"], answer
    return answer.status


def prove_window(node: Node, ledger: Ledger, clock: Clock) -> None:
    """The window of acceptance is that of the node's clock, at both of its ends; and our now is judged by it."""
    now_s = -clock.offset_s  # the node's now, as an age
    name = f"{clock.offset_s}"
    edges = {
        "not too new": offer(node, ledger, now_s - FUTURE_MAX_S + SLACK_S, name),
        "too new": offer(node, ledger, now_s - FUTURE_MAX_S - SLACK_S, name),
        "not too old": offer(node, ledger, now_s + DAY_S - SLACK_S, name),
        "too old": offer(node, ledger, now_s + DAY_S + SLACK_S, name),
        "now": offer(node, ledger, 0, name),
    }
    assert edges == {
        "not too new": 202,
        "too new": 400,
        "not too old": 202,
        "too old": 400,
        "now": 400 if clock.offset_s < -FUTURE_MAX_S else 202,
    }


def send(node: Node, ledger: Ledger, readings: list[Reading], *, duplicates: int = 0) -> list[str]:
    """Send readings of all shards as a batch; their receipts."""
    answer, retried = node.deliver("meter", readings)  # of a new life acceptors hear a moment late
    assert answer.status == 202, answer
    assert retried or answer.body["duplicates"] == duplicates, answer
    ledger.note("meter", readings)
    jobs: list[str] = answer.body["jobIds"]
    return jobs


def wave(number: float) -> list[Reading]:
    """Readings of two hours ago, which every clock of these tests takes."""
    return [meter(f"wave-{device}", abs(number), time=now_text(2 * HOUR_S)) for device in range(DEVICES)]


def prove_stored(node: Node, jobs: list[str]) -> None:
    def stored() -> bool:
        answers = [node.get(f"/v1/ingest/jobs/{job}") for job in jobs]
        assert all(answer.status == 200 for answer in answers), answers
        return all(answer.body["state"] == "stored" for answer in answers)

    eventually(stored, f"the receipts {jobs} are stored")


def sequences(jobs: list[str]) -> dict[str, int]:
    return {job.partition("-")[0]: int(job.partition("-")[2]) for job in jobs}


def test_a_clock_that_jumps_under_load_and_between_lives(stage: Stage, new_database: Callable[[], str]) -> None:
    file = stage.folder / "clock"
    clock = Clock(file)
    clock.set(HOUR_S)
    node = stage.node(DATABASE_URL=new_database(), HSEIE_CLOCK_FILE=str(file), HSEIE_INGEST__PAST_MAX_DAYS="1").start()
    ledger = Ledger()
    known = wave(1)
    jobs = send(node, ledger, known)
    ahead = sequences(jobs)
    assert all(number / 1e6 > time.time() + HOUR_S / 2 for number in ahead.values())  # made of the clock

    load = stage.load(node, start=now_text(2 * HOUR_S))
    prove_window(node, ledger, clock)
    for offset_s in (0, -HOUR_S):
        clock.set(offset_s)
        time.sleep(1.1)  # an acceptor looks once a second
        prove_window(node, ledger, clock)
        send(node, ledger, known, duplicates=len(known))
        jobs += send(node, ledger, wave(offset_s))
        prove_stored(node, jobs)  # so flushes, heartbeats and receipts go on
    summary = load.stop()
    assert set(summary["statuses"]) <= {"202", "400"}
    assert (summary["retried"], summary["failed"], summary["unknown"]) == (0, 0, 0)
    assert {row["restarts"] for row in node.processes().values()} == {0}
    ledger.read(load.ledger_file)

    # New lives on journals that were made two hours ahead of their clock.
    for name in ("writer-0", "writer-1"):
        node.kill(name)
        until_restarted(node, name, 1)
    send(node, ledger, known, duplicates=len(known))
    more = wave(2)
    back = send(node, ledger, more)
    assert all(number > ahead[shard] for shard, number in sequences(back).items())
    prove_stored(node, jobs + back)
    node.stop()

    # Other journals, which begin before those they follow; the former ones are drained now.
    node.start(HSEIE_WRITER__SHARDS="3")
    third = wave(3)
    jobs += back + send(node, ledger, third)
    prove_stored(node, jobs)
    assert node.get(f"/v1/ingest/jobs/0-{ahead['0'] + 1_000_000}").status == 404
    node.stop()

    # The window of re-sends lasts its time, whatever the clock says: the drained journals are still needed.
    clock.set(HOUR_S)
    node.start()
    send(node, ledger, known + more + third, duplicates=len(known + more + third))
    prove_stored(node, jobs)
    prove_window(node, ledger, clock)
    prove_nothing_lost(node, ledger, 3)
