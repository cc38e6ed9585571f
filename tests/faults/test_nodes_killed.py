"""kill -9 of a whole node at once, PostgreSQL among it, as a power cut does it to processes.

The end of the supervisor alone is in tests/faults/test_stop_and_restart.py.
"""

import os
import random
import signal
import time
from contextlib import suppress

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost
from tests.system.node import Node, eventually, is_free, is_running


def kill_everything(node: Node, draw: random.Random) -> None:
    assert node.process is not None
    pids = sorted({node.process.pid, *node.children().values(), *node.postgres_pids()})
    assert len(pids) > 10
    draw.shuffle(pids)
    for pid in pids:
        with suppress(ProcessLookupError):  # the end of its parent was quicker
            os.kill(pid, signal.SIGKILL)
    node.process.wait()
    node.process = None
    eventually(lambda: not any(map(is_running, pids)) and not node.postgres_pids(), "nothing of the node is left", 30)
    eventually(lambda: is_free(node.port) and is_free(node.port + 1), "no orphan listens", 30)


@pytest.mark.timeout(3600)
def test_everything_killed_at_once_under_load(stage: Stage, minutes: float) -> None:
    node = stage.node().start()  # with a PostgreSQL of its own
    load = stage.load(node, attempts=1000, timeout=10)
    draw = random.Random(stage.seed)
    until = time.monotonic() + minutes * 60
    lives = 0
    while not lives or time.monotonic() < until:
        time.sleep(draw.uniform(0.5, 2.5))
        kill_everything(node, draw)
        node.start()
        lives += 1
    time.sleep(1)
    summary = load.stop()
    print("killed", lives, "times")
    assert set(summary["statuses"]) <= {"202", "400", "503"}
    assert summary["retried"] > 0
    prove_nothing_lost(node, Ledger().read(load.ledger_file))
