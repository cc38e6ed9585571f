"""The edge of HTTP on a running node, in bytes: what is no request, what comes too slowly, what does not end.

Every answer is a problem in HSEIE's form, nothing of what is smuggled gets in, and no error stands in the node's log.
"""

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, meter, prove_nothing_lost
from tests.system.node import Node, eventually

HEAD_TIMEOUT_S = 2
BODY_TIMEOUT_S = 3
BODY_BYTES_MAX = 20_000
BODIES_BYTES_MAX = 100_000
CONNECTIONS_MAX = 150


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Iterator[Node]:
    node = module_stage.node(
        DATABASE_URL=new_database(),
        HSEIE_HTTP__ACCEPTORS="1",
        HSEIE_HTTP__HEAD_TIMEOUT_S=str(HEAD_TIMEOUT_S),
        HSEIE_HTTP__BODY_TIMEOUT_S=str(BODY_TIMEOUT_S),
        HSEIE_HTTP__KEEPALIVE_S="5",
        HSEIE_HTTP__BODY_BYTES_MAX=str(BODY_BYTES_MAX),
        HSEIE_HTTP__BODIES_BYTES_MAX=str(BODIES_BYTES_MAX),
        HSEIE_HTTP__CONNECTIONS_MAX=str(CONNECTIONS_MAX),
    ).start()
    yield node
    ended = node.processes()["acceptor-0"]["stats"]["connections_ended"]
    assert set(ended) == {"bad_request", "head_too_large", "slow_head", "silent", "turned_away"}
    assert {row["restarts"] for row in node.processes().values()} == {0}
    log = (node.folder / "stderr").read_text()
    assert '"error"' not in log, log
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def ledger(node: Node) -> Iterator[Ledger]:
    """What the tests of this file send, proved after them: so nothing smuggled is in the tables."""
    ledger = Ledger()
    yield ledger
    prove_nothing_lost(node, ledger)


class Wire:
    """A connection, in bytes."""

    def __init__(self, node: Node) -> None:
        self._socket = socket.create_connection(("127.0.0.1", node.port), timeout=30)
        self._rest = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """No more will be sent; answers are still wanted."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        while b"\r\n\r\n" not in self._rest:
            piece = self._socket.recv(65536)
            assert piece, f"the connection ended in the middle of a head: {self._rest!r}"
            self._rest += piece
        head, _, rest = self._rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        while len(rest) < length:
            piece = self._socket.recv(65536)
            assert piece, "the connection ended in the middle of a body"
            rest += piece
        self._rest = rest[length:]
        return int(lines[0].split()[1]), headers, rest[:length]

    def is_closed(self) -> bool:
        """Whether the node closes the connection, without another byte."""
        assert self._rest == b"", self._rest
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:  # closed while something of ours was unread
            return True


def post(reading: Any, *headers: str, path: str = "/v1/ingest/meter", version: str = "HTTP/1.1") -> bytes:
    body = reading if isinstance(reading, bytes) else json.dumps(reading).encode()
    lines = [f"POST {path} {version}", "Host: node", "Content-Type: application/json", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def is_problem(answer: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    found, headers, body = answer
    document = json.loads(body)
    assert (found, document["code"], document["status"]) == (status, code, status), answer
    assert headers["content-type"] == "application/problem+json"
    assert ("retry-after" in headers) == (status in (429, 503))
    assert b"smuggled" not in body, "nothing is repeated"


SMUGGLED = post(meter("smuggled"))
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n"

NO_REQUESTS = {
    "garbage": b"smuggled garbage\r\n\r\n",
    "lines only": b"\x00\x01\x02\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a request of HTTP/2.0": post(meter("smuggled"), version="HTTP/2.0"),
    "HTTP/0.9 in a head of 1.0": b"GET /livez HTTP/0.9\r\nHost: node\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: node\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "a method that is none": b"G(T / HTTP/1.1\r\nHost: node\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /livez HTTP/1.1\r\nHost: node\r\nHost: smuggled\r\n\r\n",
    "NUL in a header": b"GET /livez HTTP/1.1\r\nHost: node\r\nX: smug\0gled\r\n\r\n",
    "no colon": b"GET /livez HTTP/1.1\r\nHost: node\r\nsmuggled\r\n\r\n",
    "blank in a name": b"GET /livez HTTP/1.1\r\nHost: node\r\nX : smuggled\r\n\r\n",
    "folded": b"GET /livez HTTP/1.1\r\nHost: node\r\nX: a\r\n smuggled\r\n\r\n",
    "length and chunks": post(SMUGGLED, "Content-Length: 4", "Transfer-Encoding: chunked"),
    "two lengths": post(SMUGGLED, "Content-Length: 0", "Content-Length: 44"),
    "one length twice": post(SMUGGLED, "Content-Length: 44", "Content-Length: 44"),
    "a list of lengths": post(SMUGGLED, "Content-Length: 44, 44"),
    "a length with a sign": post(SMUGGLED, "Content-Length: +44"),
    "a negative length": post(SMUGGLED, "Content-Length: -1"),
    "a length in words": post(SMUGGLED, "Content-Length: smuggled"),
    "a length of 30 digits": post(SMUGGLED, "Content-Length: " + "9" * 30),
    "chunked twice": post(SMUGGLED, "Transfer-Encoding: chunked, chunked"),
    "xchunked": post(SMUGGLED, "Transfer-Encoding: xchunked"),
    "chunked, not last": post(SMUGGLED, "Transfer-Encoding: chunked, gzip"),
}
TOO_LARGE_HEADS = {
    "a long header": b"GET /livez HTTP/1.1\r\nHost: node\r\nX: " + b"s" * 9000 + b"\r\n\r\n",
    "a long target": b"GET /" + b"s" * 9000 + b" HTTP/1.1\r\nHost: node\r\n\r\n",
    "a long header that does not end": b"GET /livez HTTP/1.1\r\nHost: node\r\nX: " + b"s" * 20_000,
    "many headers": b"GET /livez HTTP/1.1\r\nHost: node\r\n" + b"X: s\r\n" * 80 + b"\r\n",
}
BROKEN_CHUNKS = {
    "a size that is none": b"zz\r\nsmuggled\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nsmuggled\r\n0\r\n\r\n",
    "longer than its size": b"3\r\nsmuggled\r\n0\r\n\r\n",
    "a size of 20 digits": b"f" * 20 + b"\r\nsmuggled\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request_is_answered_once_and_ends_the_connection(node: Node, ledger: Ledger, name: str) -> None:
    with Wire(node) as wire:
        wire.send(NO_REQUESTS[name])
        is_problem(wire.answer(), 400, "bad_request")
        assert wire.is_closed()


@pytest.mark.parametrize("name", TOO_LARGE_HEADS)
def test_a_head_over_the_limit(node: Node, name: str) -> None:
    with Wire(node) as wire:
        wire.send(TOO_LARGE_HEADS[name])
        is_problem(wire.answer(), 431, "head_too_large")
        assert wire.is_closed()


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
@pytest.mark.parametrize("pause_s", [0, 0.1])
def test_broken_chunks(node: Node, ledger: Ledger, name: str, pause_s: float) -> None:
    with Wire(node) as wire:
        wire.send(post(b"", "Transfer-Encoding: chunked"))
        time.sleep(pause_s)
        wire.send(BROKEN_CHUNKS[name] + SMUGGLED)
        answer = wire.answer()
        # What is broken in the piece in which the head came makes the request unreadable.
        is_problem(answer, 400, "bad_encoding" if pause_s else json.loads(answer[2])["code"])
        assert json.loads(answer[2])["code"] in ("bad_encoding", "bad_request")


def test_chunks_are_taken(node: Node, ledger: Ledger) -> None:
    reading = meter("chunked")
    body = json.dumps(reading).encode()
    with Wire(node) as wire:
        wire.send(post(b"", "Transfer-Encoding: chunked"))
        for place in range(0, len(body), 7):
            piece = body[place : place + 7]
            wire.send(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece))
        wire.send(b"0\r\nTrailer: x\r\n\r\n")
        assert wire.answer()[0] == 202
    ledger.note("meter", [reading])


def test_pipelined_requests_are_answered_in_their_order(node: Node, ledger: Ledger) -> None:
    readings = [meter(f"piped-{number}") for number in range(100)]
    with Wire(node) as wire:
        wire.send(b"".join(map(post, readings)))
        answers = [wire.answer() for _ in readings]
    assert [json.loads(body)["meterId"] for _, _, body in answers] == [reading["meterId"] for reading in readings]
    ledger.note("meter", readings)


def test_those_before_what_is_no_request_are_answered(node: Node, ledger: Ledger) -> None:
    readings = [meter(f"before-{number}") for number in range(3)]
    with Wire(node) as wire:
        wire.send(b"".join(map(post, readings)))
        time.sleep(0.1)  # what comes in one piece with it is not looked at
        wire.send(b"smuggled\r\n\r\n" + SMUGGLED)
        assert [wire.answer()[0] for _ in readings] == [202] * 3
        is_problem(wire.answer(), 400, "bad_request")
        assert wire.is_closed()
    ledger.note("meter", readings)


def test_who_closes_his_side_gets_all_answers(node: Node, ledger: Ledger) -> None:
    for turn in range(20):
        readings = [meter(f"half-{turn}-{number}") for number in range(1 + turn % 3)]
        with Wire(node) as wire:
            wire.send(b"".join(map(post, readings)))
            if turn % 2:
                time.sleep(0.01)
            wire.end()
            assert [wire.answer()[0] for _ in readings] == [202] * len(readings)
            assert wire.is_closed()
        ledger.note("meter", readings)
    with Wire(node) as wire:
        wire.send(b"GET /v1/analytics/stats HTTP/1.1\r\nHost: node\r\n\r\n")  # passed on, so it takes a while
        wire.end()
        assert wire.answer()[0] == 200
        assert wire.is_closed()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/ing", post(meter("smuggled"))[:-1], post(b"", "Content-Length: 9")])
def test_who_closes_his_side_before_the_end_of_a_request(node: Node, ledger: Ledger, sent: bytes) -> None:
    with Wire(node) as wire:
        wire.send(sent)
        wire.end()
        began = time.monotonic()
        if b"\r\n\r\n" in sent:
            is_problem(wire.answer(), 400, "bad_encoding")
        assert wire.is_closed()
        print(f"closed after {time.monotonic() - began:.2f} s")


def test_a_connection_that_rests_longer_than_a_head_may_take_is_kept(node: Node, ledger: Ledger) -> None:
    readings = [meter(f"rests-{number}") for number in range(2)]
    with Wire(node) as wire:
        for reading in readings:
            wire.send(post(reading))
            assert wire.answer()[0] == 202
            time.sleep(HEAD_TIMEOUT_S + 1)
    ledger.note("meter", readings)


@pytest.mark.parametrize("first", [b"", post(meter("first"))])
def test_a_head_that_does_not_end(node: Node, ledger: Ledger, first: bytes) -> None:
    with Wire(node) as wire:
        if first:
            wire.send(first)
            assert wire.answer()[0] == 202
            ledger.possible.update(ledger_of(first).possible)
        began = time.monotonic()
        for byte in SMUGGLED[:3]:  # each of them is news, and does not give it more time
            wire.send(bytes([byte]))
            time.sleep(0.3)
        is_problem(wire.answer(), 408, "request_timeout")
        assert wire.is_closed()
        print(f"after {time.monotonic() - began:.1f} s, {HEAD_TIMEOUT_S} wanted")
        assert time.monotonic() - began < 4 * HEAD_TIMEOUT_S + 20


def ledger_of(request: bytes) -> Ledger:
    ledger = Ledger()
    ledger.note("meter", [json.loads(request.partition(b"\r\n\r\n")[2])])
    return ledger


def test_a_connection_that_says_nothing_is_closed(node: Node) -> None:
    with Wire(node) as wire:
        assert wire.is_closed()
    with Wire(node) as wire:  # and one that says nothing more
        wire.send(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
        assert wire.answer()[0] == 200
        assert wire.is_closed()


def test_a_body_that_does_not_come(node: Node, ledger: Ledger) -> None:
    with Wire(node) as wire:
        wire.send(post(b'{"meterId": "smuggled"', "Content-Length: 100"))
        is_problem(wire.answer(), 408, "request_timeout")
        assert wire.is_closed()
    with Wire(node) as wire:
        wire.send(post(b"", "Transfer-Encoding: chunked") + b"5\r\nab")
        is_problem(wire.answer(), 408, "request_timeout")
        assert wire.is_closed()


def test_a_request_that_takes_longer_than_a_head_may_is_no_slow_head(node: Node, ledger: Ledger) -> None:
    reading = meter("slow-but-sound")
    request = post(reading)
    with Wire(node) as wire:
        wire.send(request[:-10])
        time.sleep(HEAD_TIMEOUT_S + 0.5)
        wire.send(request[-10:])
        assert wire.answer()[0] == 202
    ledger.note("meter", [reading])


def test_a_body_over_the_limit_is_refused_before_it_comes(node: Node, ledger: Ledger) -> None:
    with Wire(node) as wire:
        wire.send(post(b"", f"Content-Length: {BODY_BYTES_MAX + 1}"))
        is_problem(wire.answer(), 413, "too_large")
    with Wire(node) as wire:
        wire.send(post(b"", f"Content-Length: {BODY_BYTES_MAX + 1}", "Expect: 100-continue"))
        is_problem(wire.answer(), 413, "too_large")
        assert wire.is_closed()
    with Wire(node) as wire:
        wire.send(post(b"", "Transfer-Encoding: chunked") + CHUNKED % (BODY_BYTES_MAX + 1, b" " * (BODY_BYTES_MAX + 1)))
        is_problem(wire.answer(), 413, "too_large")


def test_expectations(node: Node, ledger: Ledger) -> None:
    reading = meter("expected")
    request = post(reading, "Expect: 100-continue")
    head, _, body = request.partition(b"\r\n\r\n")
    with Wire(node) as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.answer()[0] == 100
        wire.send(body)
        assert wire.answer()[0] == 202
    ledger.note("meter", [reading])
    for path in ("/v1/ingest/meter", "/health", "/nowhere"):
        with Wire(node) as wire:
            wire.send(post(b"{}", "Expect: smuggled", path=path))
            is_problem(wire.answer(), 417, "expectation_failed")
            assert wire.is_closed()


def test_bodies_on_their_way_have_a_limit_together(node: Node, ledger: Ledger) -> None:
    part = b" " * (BODY_BYTES_MAX - 100)
    with ExitStack() as opened:
        wires = [opened.enter_context(Wire(node)) for _ in range(BODIES_BYTES_MAX // len(part) + 3)]
        for wire in wires:
            wire.send(post(b"", f"Content-Length: {BODY_BYTES_MAX}"))
            time.sleep(0.02)
            wire.send(part)
        answers = [wire.answer() for wire in wires]
        refused = [answer for answer in answers if answer[0] == 503]
        assert 1 <= len(refused) <= 4, answers
        for answer in refused:
            is_problem(answer, 503, "overloaded")
        assert {answer[0] for answer in answers} == {503, 408}
        # A small one is taken meanwhile, and the room is given back.
    reading = meter("after-all-of-them")
    assert node.post("meter", reading).status == 202
    ledger.note("meter", [reading])
    eventually(lambda: node.processes()["acceptor-0"]["stats"]["bodies_bytes"] == 0, "all of it is given back")


def test_a_flood_of_connections(node: Node, ledger: Ledger) -> None:
    with ExitStack() as opened:
        inside = opened.enter_context(Wire(node))
        inside.send(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
        assert inside.answer()[0] == 200
        wires = [opened.enter_context(Wire(node)) for _ in range(CONNECTIONS_MAX + 20)]
        for wire in wires[-5:]:
            is_problem(wire.answer(), 503, "overloaded")
            assert wire.is_closed()
        reading = meter("inside")
        inside.send(post(reading))
        assert inside.answer()[0] == 202
        ledger.note("meter", [reading])
    # The next test's connection is no part of the flood.
    eventually(lambda: node.processes()["acceptor-0"]["stats"]["connections"] < CONNECTIONS_MAX // 2, "it has gone")


@pytest.mark.parametrize(
    ("version", "header", "stays"), [("1.0", "", False), ("1.0", "keep-alive", True), ("1.1", "close", False)]
)
def test_versions_and_their_connections(node: Node, ledger: Ledger, version: str, header: str, stays: bool) -> None:
    reading = meter(f"version-{version}-{header}")
    with Wire(node) as wire:
        wire.send(post(reading, *([f"Connection: {header}"] if header else []), version=f"HTTP/{version}"))
        assert wire.answer()[0] == 202
        if stays:
            wire.send(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
            assert wire.answer()[0] == 200
        else:
            assert wire.is_closed()
    ledger.note("meter", [reading])


@pytest.mark.parametrize(
    ("target", "statuses"),
    [
        ("http://node/livez", {200}),
        ("http://elsewhere.example/livez", {200}),
        ("*", {400, 404}),
        ("//livez", {400, 404}),
        ("/../livez", {400, 404}),
        ("/%2e%2e/livez", {400, 404}),
        ("/livez%00", {400, 404}),
        ("/livez#smuggled", {200, 400, 404}),
    ],
)
def test_targets(node: Node, target: str, statuses: set[int]) -> None:
    with Wire(node) as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
        status, headers, _ = wire.answer()
        assert status in statuses
        assert status == 200 or headers["content-type"] == "application/problem+json"


def test_connect_and_upgrades_are_refused_or_ignored(node: Node) -> None:
    with Wire(node) as wire:
        wire.send(b"CONNECT elsewhere.example:80 HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        status, headers, _ = wire.answer()
        assert status in (400, 404, 405)
        assert headers["content-type"] == "application/problem+json"
    with Wire(node) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert wire.answer()[0] == 200


def test_who_does_not_read_the_pages_takes_the_api_from_nobody(node: Node) -> None:
    with ExitStack() as opened:
        for _ in range(100):  # more than an acceptor has connections to analytics for questions
            holder = opened.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            holder.connect(("127.0.0.1", node.port))
            holder.sendall(b"GET /api/swagger-ui-bundle.js HTTP/1.1\r\nHost: node\r\n\r\n")
        time.sleep(0.5)
        for _ in range(3):
            assert node.get("/v1/analytics/stats").status == 200


def test_many_small_bodies_that_grow_cost_nobody_else_his_answers(node: Node, ledger: Ledger) -> None:
    grown = gzip.compress(b"[" + b"[]," * (BODY_BYTES_MAX // 3 - 2) + b"[]]")
    with ExitStack() as opened:
        wires = [opened.enter_context(Wire(node)) for _ in range(60)]
        inside = opened.enter_context(Wire(node))
        for wire in wires:
            wire.send(post(grown, "Content-Encoding: gzip"))
        began = time.monotonic()
        inside.send(b"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n")
        assert inside.answer()[0] == 200
        print(f"answered after {time.monotonic() - began:.2f} s")
        assert {wire.answer()[0] for wire in wires} <= {400, 413, 503}
