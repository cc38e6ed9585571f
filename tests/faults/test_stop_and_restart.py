"""The end of a whole node under load, orderly and not, and its next life on the same data folder."""

import os
import signal
import socket
import time
from collections.abc import Callable

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost
from tests.system.node import PATIENCE_S, Node, eventually


def test_the_supervisor_killed_under_load_takes_all_with_it_and_the_next_start_recovers(stage: Stage) -> None:
    node = stage.node().start()  # with its own PostgreSQL, which has to recover
    load = stage.load(node, attempts=100)
    time.sleep(3)
    node.kill_supervisor()
    node.start()
    time.sleep(1)
    assert load.stop()["retried"] > 0
    prove_nothing_lost(node, Ledger().read(load.ledger_file))


def test_sigterm_under_load_drains_and_the_next_start_goes_on(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    single = stage.load(node, "single", attempts=100)
    batches = stage.load(node, "batches", batch=20, first_device=1001, attempts=100)
    time.sleep(3)
    node.stop()  # asserts exit code 0
    waiting = node.audit()
    assert waiting["balanced"]
    node.start()
    time.sleep(1)
    assert set(single.stop()["statuses"]) <= {"202", "400", "503"}
    assert set(batches.stop()["statuses"]) <= {"202", "207", "400", "503"}
    prove_nothing_lost(node, Ledger().read(single.ledger_file).read(batches.ledger_file))


def test_a_node_that_stops_lets_nobody_wait_at_its_door(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    writer = node.kill("writer-0", signal.SIGSTOP)  # so that the stop takes long
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    eventually(lambda: refuses(node), "connections are refused", 20)
    assert node.process.poll() is None
    os.kill(writer, signal.SIGCONT)
    assert node.process.wait(PATIENCE_S) == 0
    node.process = None


def refuses(node: Node) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", node.port)) != 0
