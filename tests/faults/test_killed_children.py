"""Children of a node that die or stand still under load."""

import os
import random
import signal
import time
from collections.abc import Callable

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, meter, prove_nothing_lost
from tests.system.node import eventually

# What a client may see of a fault: taken, refused for good reason, or asked to come again.
EXPECTED = {"202", "400", "503"}


def test_each_child_killed_once_comes_back_and_nothing_is_lost(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    names = list(node.children())
    assert sorted(names) == ["acceptor-0", "acceptor-1", "analytics", "maintenance", "writer-0", "writer-1"]
    load = stage.load(node)
    time.sleep(1)
    back = {}
    for name in names:
        pid = node.kill(name)
        killed = time.monotonic()
        node.until_back(name, pid)
        back[name] = round(time.monotonic() - killed, 2)
    print("back after seconds:", back)
    time.sleep(1)
    summary = load.stop()
    assert set(summary["statuses"]) <= EXPECTED
    assert summary["retried"] > 0  # the faults did hit
    assert {name: row["restarts"] for name, row in node.processes().items()} == dict.fromkeys(names, 1)
    prove_nothing_lost(node, Ledger().read(load.ledger_file))


def test_writers_killed_again_and_again_in_the_middle_of_their_work(
    stage: Stage, new_database: Callable[[], str]
) -> None:
    # A flush is nearly always under way: kills hit it before, in and after its commit.
    node = stage.node(DATABASE_URL=new_database(), HSEIE_WRITER__FLUSH_INTERVAL_MS="5").start()
    load = stage.load(node, fast=True, batch=20, concurrency=8, history=12)
    draw = random.Random(stage.seed)
    for _ in range(4):
        time.sleep(draw.uniform(2.0, 3.0))  # devices that were sent away come back after a second or two
        pids = [node.kill(name) for name in ("writer-0", "writer-1")]
        for name, pid in zip(("writer-0", "writer-1"), pids, strict=True):
            node.until_back(name, pid)
    summary = load.stop()
    assert set(summary["statuses"]) <= EXPECTED | {"207"}
    prove_nothing_lost(node, Ledger().read(load.ledger_file))


def test_an_acceptor_that_stands_still_costs_new_connections_nothing(
    stage: Stage, new_database: Callable[[], str]
) -> None:
    node = stage.node(DATABASE_URL=new_database(), HSEIE_SUPERVISOR__HEARTBEAT_TIMEOUT_MS="120000").start()
    ledger = Ledger()
    pid = node.kill("acceptor-0", signal.SIGSTOP)
    try:
        for number in range(40):  # half of them reach the one that does not come to its door
            reading = meter(f"D-{number}")
            assert node.post("meter", reading).status == 202
            ledger.note("meter", [reading])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert node.children()["acceptor-0"] == pid
    prove_nothing_lost(node, ledger)


def test_a_writer_that_stands_still_costs_its_shard_some_time_and_nothing_else(
    stage: Stage, new_database: Callable[[], str]
) -> None:
    node = stage.node(DATABASE_URL=new_database(), HSEIE_INGEST__ACK_TIMEOUT_MS="1000").start()
    ledger = Ledger()
    load = stage.load(node, devices=50)
    time.sleep(1)
    pid = node.kill("writer-0", signal.SIGSTOP)
    until = time.monotonic() + 6
    seen = set()
    try:
        while time.monotonic() < until:
            reading = meter(device_of(0, 2, "still"))
            stopped = node.post("meter", reading)
            assert stopped.status == 503, stopped
            assert 1 <= int(stopped.headers["Retry-After"]) <= 60
            seen.add(stopped.body["code"])
            ledger.note("meter", [reading], promised=False)
            other = meter(device_of(1, 2, "still"))
            assert node.post("meter", other).status == 202
            ledger.note("meter", [other])
            time.sleep(0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    # First its silence is noticed by a request, then by the missing signs of life.
    assert seen == {"ack_timeout", "writer_unavailable"}
    device = meter(device_of(0, 2, "still"))
    eventually(lambda: node.post("meter", device).status == 202, "the shard takes readings again", 20)
    ledger.note("meter", [device])
    assert node.children()["writer-0"] == pid  # it went on; nobody had to start it again
    time.sleep(1)
    summary = load.stop()
    assert set(summary["statuses"]) <= EXPECTED
    assert summary["retried"] > 0
    prove_nothing_lost(node, ledger.read(load.ledger_file))
