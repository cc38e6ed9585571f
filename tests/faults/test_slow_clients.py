"""Clients that cost connections and time: thousands that say nothing, hundreds that send a byte a second, half-closers.

Healthy devices beside them have to be answered; how quickly is printed.
"""

import contextlib
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hseie.config import Http
from tests.faults.conftest import until_restarted
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, meter, prove_nothing_lost
from tests.system.node import Node, eventually

SOFT_LIMIT = 256  # what the node is started with: less than it needs, so it has to take what it may have
SPARE_FILES = 500
FEW_FILES = 600
ANSWERED_WITHIN_S = 5.0  # on a machine that has something else to do too
ACCEPTORS = ("acceptor-0", "acceptor-1")
HEAD_TIMEOUT_S, BODY_TIMEOUT_S = Http().head_timeout_s, Http().body_timeout_s


@contextlib.contextmanager
def soft_limit(files: int) -> Iterator[None]:
    """Have so many files, and give that limit to whom we start."""
    former, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and files > hard:
        pytest.skip(f"this machine allows {hard} open files, and {files} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (former, hard))


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    node = module_stage.node(DATABASE_URL=new_database())
    with soft_limit(SOFT_LIMIT):
        return node.start()


@pytest.fixture(scope="module")
def ledger(node: Node) -> Iterator[Ledger]:
    """What the tests of this file send, proved after them."""
    ledger = Ledger()
    yield ledger
    prove_nothing_lost(node, ledger)


def open_files(node: Node) -> int:
    """Of the acceptors together."""
    pids = node.children()
    return sum(len(list(Path(f"/proc/{pids[name]}/fd").iterdir())) for name in ACCEPTORS)


def connect(node: Node) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=60)


def request(reading: object, *more_headers: str) -> tuple[bytes, bytes]:
    """Head and body of a POST of a meter's reading."""
    body = json.dumps(reading).encode()
    lines = ["POST /v1/ingest/meter HTTP/1.1", "Host: node", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *more_headers, "", ""]).encode(), body


def answer_on(connection: socket.socket) -> bytes:
    """What comes until the first answer is whole enough to be known, or the connection ends."""
    with contextlib.suppress(ConnectionError):
        return connection.recv(65536)
    return b""


def prove_healthy(*pulses: Pulse) -> None:
    for pulse in pulses:
        took = sorted(beat.took_s for beat in pulse.beats)
        p50, p99 = (took[int(len(took) * share)] for share in (0.5, 0.99))
        print(f"healthy clients: {len(took)} answers, p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
        assert pulse.codes == set()
        assert p99 < ANSWERED_WITHIN_S


@pytest.mark.timeout(300)
def test_thousands_of_idle_connections(node: Node, ledger: Ledger, minutes: float) -> None:
    count = 10_000 if minutes else 1000
    before = open_files(node)
    with soft_limit(count + SPARE_FILES), contextlib.ExitStack() as opened:
        began = time.monotonic()
        connections = [opened.enter_context(connect(node)) for _ in range(count)]
        for connection in connections[::2]:  # some have been used, some never
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
        for connection in connections[::2]:
            assert b"200 OK" in answer_on(connection)
        took_s = time.monotonic() - began
        print(f"{count} connections in {took_s:.1f} s")
        # Accepted, not only waiting in the kernel. Those that never asked are not kept for ever.
        expected = count if took_s < HEAD_TIMEOUT_S / 2 else count // 2
        eventually(lambda: open_files(node) >= before + expected, f"the acceptors have {expected} connections more")
        with Pulse(node, 0, "beside-idle-0") as even, Pulse(node, 1, "beside-idle-1") as odd:
            time.sleep(10 if minutes else 2)
        prove_healthy(even, odd)
    odd.note(even.note(ledger))
    eventually(lambda: open_files(node) < before + SPARE_FILES / 5, "the descriptors are given back")
    assert {node.processes()[name]["restarts"] for name in ACCEPTORS} == {0}


@pytest.mark.timeout(300)
def test_a_byte_a_second(node: Node, ledger: Ledger, minutes: float) -> None:
    count, seconds = (500, BODY_TIMEOUT_S + 10) if minutes else (50, 4)
    whole = meter(device_of(0, 2, "slow-but-sound"))
    head, body = request(whole)
    slow_head, _ = request(meter("never-sent"), "X-Fill: " + "x" * 200)
    with soft_limit(count + SPARE_FILES), contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(node)) for _ in range(count)]
        by_head, by_body = connections[::2], connections[1::2]
        # One of them ends in time; the others would take minutes.
        patient = opened.enter_context(connect(node))
        patient.sendall(head + body[:-3])
        for connection in by_body:
            connection.sendall(head.replace(b"Content-Length: ", b"Content-Length: 9"))
        with Pulse(node, 0, "beside-slow-0") as even, Pulse(node, 1, "beside-slow-1") as odd:
            until = time.monotonic() + seconds
            number = 0
            while time.monotonic() < until:
                with contextlib.suppress(OSError):  # those that were given up by the node
                    patient.sendall(body[-3:][number : number + 1])
                for connection in by_head:
                    with contextlib.suppress(OSError):
                        connection.sendall(slow_head[number : number + 1])
                for connection in by_body:
                    with contextlib.suppress(OSError):
                        connection.sendall(b" ")
                number += 1
                time.sleep(1)
        prove_healthy(even, odd)
        assert b" 202 " in answer_on(patient)
        ledger.note("meter", [whole])
        if minutes:
            assert all(b" 408 " in answer_on(connection) for connection in by_head), f"a head has {HEAD_TIMEOUT_S} s"
            assert all(b" 408 " in answer_on(connection) for connection in by_body)
    odd.note(even.note(ledger))
    assert {node.processes()[name]["restarts"] for name in ACCEPTORS} == {0}


@pytest.mark.timeout(300)
def test_idle_and_slow_ones_at_once(node: Node, ledger: Ledger, minutes: float) -> None:
    idle, slow, seconds = (10_000, 500, 15) if minutes else (500, 50, 3)
    head, _ = request(meter("never-sent-at-once"), "X-Fill: " + "x" * 200)
    with soft_limit(idle + slow + SPARE_FILES), contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(node)) for _ in range(idle + slow)]
        for connection in connections[:idle]:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
        for connection in connections[:idle]:
            assert b"200 OK" in answer_on(connection)
        with Pulse(node, 0, "beside-both-0") as even, Pulse(node, 1, "beside-both-1") as odd:
            until = time.monotonic() + seconds
            number = 0
            while time.monotonic() < until:
                for connection in connections[idle:]:
                    with contextlib.suppress(OSError):
                        connection.sendall(head[number : number + 1])
                number += 1
                time.sleep(1)
        prove_healthy(even, odd)
    odd.note(even.note(ledger))
    assert {node.processes()[name]["restarts"] for name in ACCEPTORS} == {0}


def test_a_client_that_closes_its_side_after_the_request(node: Node, ledger: Ledger) -> None:
    for number in range(20):
        reading = meter(device_of(number % 2, 2, "half-closed"), number)
        head, body = request(reading)
        with connect(node) as connection:
            connection.sendall(head + body)
            connection.shutdown(socket.SHUT_WR)
            assert b" 202 " in answer_on(connection)
        ledger.note("meter", [reading])
    # In the middle of a body there is nothing to keep.
    head, body = request(meter("cut-off"))
    with connect(node) as connection:
        connection.sendall(head + body[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in answer_on(connection)


def test_more_connections_than_files(node: Node, ledger: Ledger) -> None:
    assert node.process is not None
    # New acceptors inherit this.
    resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (SOFT_LIMIT, FEW_FILES))
    for name in ACCEPTORS:
        restarts = node.processes()[name]["restarts"]
        node.kill(name)
        until_restarted(node, name, restarts + 1)
    count = 2 * FEW_FILES
    before = {name: node.processes()[name]["restarts"] for name in ACCEPTORS}
    with soft_limit(count + SPARE_FILES), contextlib.ExitStack() as opened:
        first = [opened.enter_context(connect(node)) for _ in range(20)]
        others = [opened.enter_context(connect(node)) for _ in range(count)]
        time.sleep(2)  # heartbeats go on
        turned_away = 0
        for connection in others:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                turned_away += b" 503 " in answer_on(connection)
        print(f"of {count} connections {turned_away} were turned away")
        assert turned_away > 0
        for number, connection in enumerate(first):  # who is in, is served
            reading = meter(device_of(0, 2, "is-in"), number)
            connection.sendall(b"".join(request(reading)))
            assert b" 202 " in answer_on(connection)
            ledger.note("meter", [reading])
        with Pulse(node, 0, "new-ones") as pulse:
            time.sleep(0.5)
            opened.close()
            eventually(lambda: pulse.beats and pulse.beats[-1].taken, "there is room again")
        print("new ones meanwhile:", pulse.summary())
        assert pulse.codes <= {"overloaded", ""}
        pulse.note(ledger)
    assert {name: node.processes()[name]["restarts"] for name in ACCEPTORS} == before
