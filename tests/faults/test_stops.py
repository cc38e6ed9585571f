"""SIGTERM at bad moments: with PostgreSQL away, twice, in the middle of a start.

Under load with PostgreSQL there, once, is in tests/faults/test_stop_and_restart.py.
"""

import random
import signal
import time

from hseie.embedded.server import EmbeddedPostgres
from tests.faults.conftest import log_of
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, meter, prove_nothing_lost
from tests.system.node import PATIENCE_S, Node, eventually, is_free, is_running

DRAIN_TIMEOUT_S = 25  # the default
STARTS = 4


def stop_impatiently(node: Node, draw: random.Random) -> None:
    """SIGTERM, and again before it is done."""
    assert node.process is not None
    pids = node.children()
    began = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    time.sleep(draw.uniform(0.0, 0.2))
    if node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
    code = node.process.wait(PATIENCE_S)
    took_s = time.monotonic() - began
    print(f"stopped in {took_s:.2f} s")
    assert code == 0, node.tail()
    assert took_s < DRAIN_TIMEOUT_S + 15
    assert log_of(node, "process_killed") == []  # each ended by itself
    assert not any(map(is_running, pids.values()))
    node.process = None


def test_sigterm_twice_under_load_with_postgresql_up_and_away(stage: Stage, own_server: EmbeddedPostgres) -> None:
    draw = random.Random(stage.seed)
    node = stage.node(DATABASE_URL=own_server.start()).start()
    single = stage.load(node, "single", attempts=1000)
    batches = stage.load(node, "batches", batch=20, first_device=1001, attempts=1000)
    time.sleep(1)
    stop_impatiently(node, draw)
    node.start()
    time.sleep(1)
    own_server.stop()
    time.sleep(0.5)
    stop_impatiently(node, draw)
    node.launch()  # PostgreSQL is still away
    time.sleep(0.5)
    own_server.start()
    eventually(node.is_ready, "the node is ready again")
    assert set(single.stop()["statuses"]) <= {"202", "400", "503"}
    assert set(batches.stop()["statuses"]) <= {"202", "207", "400", "503"}
    prove_nothing_lost(node, Ledger().read(single.ledger_file).read(batches.ledger_file))


def test_sigterm_during_the_start(stage: Stage) -> None:
    node = stage.node()  # with a PostgreSQL of its own: the first start makes its cluster
    draw = random.Random(stage.seed)
    for number in range(STARTS):
        began = len(log_of(node, "node_starting"))
        process = node.spawn()
        # Before that line there is nothing to stop but an interpreter.
        eventually(lambda began=began: len(log_of(node, "node_starting")) > began, "the start begins")  # type: ignore[misc]
        time.sleep(moment_s := number * 0.4 + draw.uniform(0.0, 0.4))
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_S)
        print(f"told after {moment_s:.2f} s, stopped in {time.monotonic() - asked:.2f} s")
        assert code == 0, node.tail()
        assert node.postgres_pids() == []
        assert is_free(node.port)
        assert is_free(node.port + 1)
    node.start()
    ledger = Ledger()
    reading = meter("after-all")
    assert node.post("meter", reading).status == 202
    ledger.note("meter", [reading])
    prove_nothing_lost(node, ledger)
