"""Writers that stand still at a bad moment: one goes on in time, one is taken for stuck and killed.

A writer that is stopped anywhere and goes on is in tests/faults/test_killed_children.py.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import faults_at, log_of, until_fired, until_restarted
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost
from tests.system.node import eventually

ACK_TIMEOUT_S = 1


@pytest.mark.timeout(300)
def test_a_writer_stopped_in_the_middle_of_its_work(
    stage: Stage, marks: Path, new_database: Callable[[], str], minutes: float
) -> None:
    stopped_s, heartbeat_timeout_s = (30, 45) if minutes else (3, 6)
    # One has made a group durable and told nobody: all of it is sent again. One holds a transaction open.
    goes_on, is_stuck = "writer-0/journal.after_commit:stop@20", "writer-1/flush.before_commit:stop@4"
    node = stage.node(
        DATABASE_URL=new_database(),
        HSEIE_INGEST__ACK_TIMEOUT_MS=str(ACK_TIMEOUT_S * 1000),
        HSEIE_SUPERVISOR__HEARTBEAT_TIMEOUT_MS=str(heartbeat_timeout_s * 1000),
        **faults_at(marks, goes_on, is_stuck),
    ).start()
    pids = node.children()
    load = stage.load(node, repeat_share=0, attempts=100)
    with Pulse(node, 0, "first") as first, Pulse(node, 1, "second") as second:
        [mark] = until_fired(marks, [goes_on])
        assert mark.read_text().split() == ["writer-0", str(pids["writer-0"])]
        time.sleep(stopped_s)
        os.kill(pids["writer-0"], signal.SIGCONT)
        until_fired(marks, [is_stuck])
        until_restarted(node, "writer-1", 1)
        eventually(lambda: first.beats[-1].taken and second.beats[-1].taken, "both shards take readings again")
    summary = load.stop()
    print("went on:", first.summary(), "was killed:", second.summary())
    for pulse, stood_s in ((first, stopped_s), (second, heartbeat_timeout_s)):
        # The silence is noticed by a request first, and then by the missing signs of life.
        assert pulse.codes <= {"ack_timeout", "writer_unavailable"}
        assert "ack_timeout" in pulse.codes
        assert pulse.longest_gap_s() > 0.8 * stood_s
        # Nobody had to wait for it to go on; the bound is far off for the sake of busy machines.
        assert min(beat.took_s for beat in pulse.beats if beat.sent_away) < stood_s
        assert max(beat.took_s for beat in pulse.beats) < ACK_TIMEOUT_S + 15
    assert set(summary["statuses"]) <= {"202", "400", "503"}
    assert summary["duplicates"] > 0  # only what was sent again because of the fault
    assert node.children()["writer-0"] == pids["writer-0"]
    [stuck] = log_of(node, "process_stuck")
    assert (stuck["name"], stuck["pid"]) == ("writer-1", pids["writer-1"])
    prove_nothing_lost(node, second.note(first.note(Ledger().read(load.ledger_file))))
