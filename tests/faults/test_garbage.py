"""Strangers on the internal sockets: garbage, and a peer that never reads. The shard serves on, memory stays."""

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from hseie.control import run_dir_of
from hseie.frames import FRAME, HELLO, Frame, Part, encode
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, make_key, now_text, prove_nothing_lost
from tests.system.node import Node, eventually

FRAME_BYTES_MAX = 2_097_152
MESSAGE_BYTES_MAX = 4 * FRAME_BYTES_MAX  # of a writer's socket
GROWTH_BYTES_MAX = 64_000_000


class Stranger:
    """A peer of an internal socket that is none of the node's."""

    def __init__(self, run_dir: Path, name: str, **options: int) -> None:
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        for option, value in ({"LINGER": 10_000, "SNDTIMEO": 60_000, "RCVTIMEO": 30_000} | options).items():
            self.socket.setsockopt(getattr(zmq, option), value)
        self.socket.connect(f"ipc://{run_dir}/{name}.sock")

    def boot(self) -> int:
        """Ask a writer for the name of its life."""
        self.socket.send(encode(HELLO))
        boot: int = msgpack.unpackb(self.socket.recv())[1]
        return boot

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._context.term()


def row(device: str, amount: float, time: str) -> bytes:
    """A line as acceptors make it."""
    return f"{device}\t{time.removesuffix('Z')}\t{amount:.4f}\t230.00\n".encode()


def random_bodies(draw: random.Random, count: int) -> Iterator[bytes]:
    """Bytes that are no message; many are msgpack all the same."""
    values: list[Any] = [None, True, -1, 2**64 - 1, 1.5, "text", b"\xff", [], [[]], {}, {1: 2}, ["1", 2], [FRAME]]
    for _ in range(count):
        match draw.randrange(4):
            case 0:
                yield draw.randbytes(draw.randrange(300))
            case 1:
                yield msgpack.packb(draw.choice(values))
            case 2:
                yield msgpack.packb([draw.randrange(7, 200), *draw.choices(values, k=3)])
            case 3:  # lengths that promise more than there is, and depths without an end
                yield draw.choice(
                    [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 5000, b"\xdf\x7f\xff\xff\xff"]
                )


def broken_frames(boot: int) -> list[bytes]:
    """Frames for this very life that are wrong somewhere else."""
    good = row("garbage", 1, now_text())
    shapes: list[Any] = [
        (FRAME, boot),
        (FRAME, boot, 1, False, 7),
        (FRAME, boot, "1", False, [(0, 1, good)]),
        (FRAME, boot, 1, False, [(0, 1)]),
    ]
    parts: list[Any] = [
        (0, 2, good),
        (0, 0, b""),
        (0, -1, good),
        (0, 1.0, good),
        (0, True, good),
        (True, 1, good),
        (7, 1, good),
        (-1, 1, good),
        ("0", 1, good),
        (0, 1, good.decode()),
        (0, 1, good[:-1]),
        (0, 1, good.replace(b"\t", b" ")),
        (0, 1, b"\n"),
        (0, 1, good.replace(b"garbage", "gärbage".encode("latin-1"))),
        (0, 1, good.replace(b"garbage", b"gar\0bage")),
        (1, 1, good),
    ]
    twice = [(0, 1, good), (0, 1, good.replace(b"garbage", b"other"))]
    shapes += [(FRAME, boot, 1, False, [part]) for part in parts] + [(FRAME, boot, 1, False, twice)]
    return [msgpack.packb(shape) for shape in shapes]


def figures(node: Node, name: str = "writer-0") -> dict[str, Any]:
    row_of = node.processes()[name]
    found = row_of["stats"] | {"rss_bytes": row_of["rss_bytes"], "restarts": row_of["restarts"]}
    return found | {"frames_refused": sum(found["frames_refused"].values())}


def prove_untouched(node: Node, before: dict[str, Any]) -> None:
    after = figures(node)
    print(f"memory of the writer: {before['rss_bytes'] / 1e6:.0f} MB before, {after['rss_bytes'] / 1e6:.0f} MB after")
    assert after["rss_bytes"] - before["rss_bytes"] < GROWTH_BYTES_MAX
    assert after["restarts"] == 0


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    return module_stage.node(DATABASE_URL=new_database(), HSEIE_INGEST__FRAME_BYTES_MAX=str(FRAME_BYTES_MAX)).start()


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """Of all that these tests send to their node."""
    return Ledger()


@pytest.fixture
def run_dir(node: Node) -> Path:
    return run_dir_of(node.data)


def test_garbage_on_the_socket_of_a_writer(
    node: Node, run_dir: Path, stage: Stage, ledger: Ledger, minutes: float
) -> None:
    draw = random.Random(stage.seed)
    before = figures(node)
    load = stage.load(node)
    sent = stale = 0
    with Pulse(node, 0, "beside-garbage") as pulse, Stranger(run_dir, "writer-0") as stranger:
        boot = stranger.boot()
        for body in random_bodies(draw, 200_000 if minutes else 5000):
            stranger.socket.send(body)
            sent += 1
        for _ in range(20):
            for body in broken_frames(boot):
                stranger.socket.send(body)
                sent += 1
        for parts in ([b"two", b"parts"], [b"", b""], [encode(HELLO), encode(HELLO), encode(HELLO)]):
            stranger.socket.send_multipart(parts)
            sent += 1
        for number in range(1000):  # whole frames, for another life
            part = Part(0, 1, row(device_of(0, 2, "stale"), number, now_text()))
            stranger.socket.send(Frame(boot ^ (1 + draw.randrange(2**20)), number, True, (part,)).encode())
            stale += 1

        def counted() -> bool:
            found = figures(node)
            assert found["restarts"] == 0, node.processes()["writer-0"]["last_exit"]
            return bool(found["messages_refused"] >= sent and found["frames_refused"] >= stale)

        eventually(counted, f"{sent} messages and {stale} frames are counted")
        found = figures(node)
        assert (found["messages_refused"], found["frames_refused"]) == (sent, stale)
        # What is too large costs the connection before it is read.
        for _ in range(5):
            with Stranger(run_dir, "writer-0") as large:
                large.socket.send(bytes(MESSAGE_BYTES_MAX + 1))
        time.sleep(1.5)  # two heartbeats
        assert figures(node)["messages_refused"] == sent
        # And what is no ZeroMQ at all, though it may be taken for a very old one.
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(f"{run_dir}/writer-0.sock")
                raw.sendall(draw.randbytes(5000))
        taken = len(pulse.beats)
        eventually(lambda: len(pulse.beats) > taken + 10, "the shard serves on")
    summary = load.stop()
    assert set(summary["statuses"]) <= {"202", "400"}
    assert (summary["retried"], pulse.codes) == (0, set())
    prove_untouched(node, before)
    prove_nothing_lost(node, pulse.note(ledger.read(load.ledger_file)))


def test_garbage_on_the_socket_of_the_supervisor(node: Node, run_dir: Path, seed: int) -> None:
    draw = random.Random(seed)
    assert node.process is not None
    statm = Path(f"/proc/{node.process.pid}/statm")
    before_pages = int(statm.read_text().split()[1])
    before = node.status()["node"]["messages_refused"]
    pids = node.children()
    sent = 0
    with Stranger(run_dir, "control", RCVHWM=1) as stranger:
        for body in random_bodies(draw, 3000):
            stranger.socket.send(body)
            sent += 1
        forged: dict[str, Any] = {"type": "heartbeat", "name": "writer-0", "pid": 1, "state": "draining", "stats": {}}
        forged |= {"rss_bytes": 0, "cpu_s": 0.0}
        os.kill(pids["writer-0"], signal.SIGSTOP)
        try:
            time.sleep(1)  # what it had sent is read
            stranger.socket.send(msgpack.packb(forged))  # not of the process that it names
            for change in ({"state": "dead"}, {"pid": "1"}, {"stats": []}, {"type": "order"}):
                stranger.socket.send(msgpack.packb(forged | change))
                sent += 1
            eventually(lambda: node.status()["node"]["messages_refused"] - before >= sent, f"{sent} are counted")
            silent = node.processes()["writer-0"]
        finally:
            os.kill(pids["writer-0"], signal.SIGCONT)
        assert (silent["state"], silent["heartbeat_age_ms"] > 900) == ("ready", True), silent
        for _ in range(3000):  # asked, and the answers never read
            stranger.socket.send(msgpack.packb({"type": "status", "id": 1}))
        assert node.status()["node"]["messages_refused"] - before == sent
    grown_bytes = (int(statm.read_text().split()[1]) - before_pages) * 4096
    print(f"the supervisor grew by {grown_bytes / 1e6:.1f} MB")
    assert grown_bytes < GROWTH_BYTES_MAX
    assert node.status()["ready"]
    assert node.children() == pids


def test_a_peer_that_sends_and_never_reads(node: Node, run_dir: Path, ledger: Ledger, minutes: float) -> None:
    frames, hellos = (20_000, 500_000) if minutes else (2000, 50_000)
    before = figures(node)
    device = device_of(0, 2, "deaf")
    moment = now_text()
    with Pulse(node, 0, "beside-deaf") as pulse, Stranger(run_dir, "writer-0", RCVHWM=1) as deaf:
        boot = deaf.boot()
        for number in range(frames):  # good ones, which are taken, and whose acknowledgements are nobody's business
            deaf.socket.send(Frame(boot, number, True, (Part(0, 1, row(device, number, moment)),)).encode())
            ledger.possible.add(make_key("meter", device, moment, (number, 230)))
        for _ in range(hellos):
            deaf.socket.send(encode(HELLO))
        taken = len(pulse.beats)
        eventually(lambda: len(pulse.beats) > taken + 10, "the shard serves on")
        prove_untouched(node, before)
        # What did not fit into its queue was dropped, not kept for it.
        deaf.socket.setsockopt(zmq.RCVTIMEO, 1000)
        answers = 0
        try:
            while deaf.socket.recv():
                answers += 1
        except zmq.Again:
            pass
    print(f"of more than {hellos} answers {answers} were kept; the pulse:", pulse.summary())
    assert 0 < answers < hellos / 2
    assert pulse.codes == set()
    stored = prove_nothing_lost(node, pulse.note(ledger))
    assert sum(key[1] == device for key in stored.history) == frames
