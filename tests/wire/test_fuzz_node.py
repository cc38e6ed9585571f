"""A running node, sent whatever hypothesis makes up: requests to store, broken requests, questions.

What was acknowledged is in history exactly once, what was refused is not; nobody restarts, nothing is logged as an
error, and every answer has the form that answers have.
"""

import gzip
import http.client
import json
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st

from hseie.readings import KINDS
from tests.system.conftest import Stage
from tests.system.node import Node
from tests.wire.exchange import Connection, Reply
from tests.wire.generated import Body, Generator, bodies, fuzz, inputs_of, mutated
from tests.wire.lines import items_of, kind_of, line_of
from tests.wire.questions import Values, questions
from tests.wire.row import in_chunks, reading
from tests.wire.watched import Watched, check_form

LIMITS = {
    "HSEIE_HTTP__BATCH_READINGS_MAX": "5",
    "HSEIE_HTTP__BODY_BYTES_MAX": "4096",
    "HSEIE_INGEST__DEDUPE_WINDOW_S": "86400",  # what is made up twice in a long run is a re-send all the same
    "HSEIE_LOG__FORMAT": "json",
}
KNOWN = "known-device"


@dataclass(frozen=True)
class Request:
    """What is sent, in one piece, and what of it would be readings."""

    raw: bytes
    body: Body


class Desk:
    """A node, a connection to it, and what it has promised and may have stored."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.watched = Watched(node)
        self.promised: set[str] = set()
        self.possible: set[str] = set()
        self.answers: Counter[int] = Counter()
        self._connection: Connection | None = None

    def ask(self, request: bytes, method: str = "POST") -> Reply:
        """Ask on the connection that is open, as long as it lasts."""
        if self._connection is None:
            self._connection = Connection(self.node.port)
        reply = self._connection.ask(request, method)
        if reply.is_last:
            self.hang_up()
        self.note(reply)
        return reply

    def note(self, reply: Reply) -> None:
        self.answers[reply.status] += 1
        check_form(reply)
        assert reply.status < 500 or reply.status == 503, reply.raw
        if reply.status >= 400:
            # Sent texts are full of other characters, answers have none but that of a unit.
            assert reply.raw.replace("°", "").isascii(), reply.raw

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.fixture(scope="module")
def desk(module_stage: Stage, new_database: Callable[[], str]) -> Desk:
    desk = Desk(module_stage.node("fuzzed", DATABASE_URL=new_database(), **LIMITS).start())
    now = datetime.now(UTC)
    for number, kind in enumerate(KINDS):
        text = reading(kind).replace("@ID@", KNOWN).replace("@0@", f"{now:%Y-%m-%dT%H:%M:%S}Z")
        answer = desk.node.post(kind.name, text.encode(), Prefer="wait")
        assert answer.status == 201, (number, answer)
        desk.promised.add(line_of(kind, json.loads(text)))
    return desk


# --- readings ---------------------------------------------------------------------------------------------------------

_JSON = ("application/json",) * 12 + ("application/json; charset=utf-8", "text/json", "APPLICATION/JSON;")
_LINES = ("application/x-ndjson",) * 12 + (
    "application/jsonl",
    "application/ndjson",
    "Application/X-NDJSON;charset=UTF-8",
)
_WRONG = (
    "",
    "text/plain",
    "application/json; charset=latin-1",
    "a/b, c/d",
    ";;;",
    "multipart/form-data",
)
_TOKENS = st.text(alphabet='abcXYZ019-_.;=," \t()<>@/?*', max_size=30)


def _packed(draw: st.DrawFn, content: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """The body as it is sent, packed or not or wrongly, and the header that says so."""
    how = draw(st.integers(0, 19))
    if how < 13:
        return content, []
    if how < 16:
        return gzip.compress(content, 1, mtime=0), [("Content-Encoding", "gzip")]
    if how == 16:
        return zlib.compress(content), [("Content-Encoding", "deflate")]
    if how == 17:
        return draw(mutated(st.just(gzip.compress(content, 1, mtime=0)))), [("Content-Encoding", "gzip")]
    if how == 18:
        return content, [("Content-Encoding", draw(st.sampled_from(("gzip", "deflate"))))]
    return content, [("Content-Encoding", draw(_TOKENS))]


@st.composite
def posts(draw: st.DrawFn, generator: Generator) -> Request:
    """A request with a sound head: body, type, coding, framing and preferences as they come."""
    body: Body = draw(bodies(generator))
    path = "/v1/ingest" + (f"/{body.kind.name}" if body.kind else "")
    types = _LINES if body.lines else _JSON
    headers = [
        ("Content-Type", draw(st.sampled_from(types)) if draw(st.integers(0, 19)) else draw(st.sampled_from(_WRONG)))
    ]
    content, coding = _packed(draw, body.content)
    headers += coding
    extra = draw(st.integers(0, 9))
    if extra == 0:
        headers.append(("Prefer", draw(_TOKENS)))
    elif extra == 1:
        headers.append(
            (draw(st.sampled_from(("X-Any", "Accept", "Cookie", "Range", "If-Match", "Expect-Not"))), draw(_TOKENS))
        )
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    if draw(st.integers(0, 4)):
        return Request(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content, body)
    chunks = in_chunks(content, draw(st.integers(1, 300)))
    return Request(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks, body)


def taken_of(body: Body, document: dict[str, Any]) -> set[str]:
    """The lines of the items that an answer says are taken."""
    items = items_of(body.content, ndjson=body.lines)
    refused = set(document.get("rejectedIndexes", ()))
    if "accepted" in document:
        assert document["accepted"] + document["duplicates"] + document["rejected"] == len(items)
        assert document["rejected"] == len(refused)
    else:
        assert len(items) == 1
    taken = [item for index, item in enumerate(items) if index not in refused]
    return {line_of(body.kind or kind_of(item) or KINDS[0], item) for item in taken}


@pytest.mark.timeout(3600)
def test_what_is_acknowledged_is_stored_once_and_nothing_else(desk: Desk, seed: int) -> None:
    def any_post(request: Request) -> None:
        reply = desk.ask(request.raw)
        if reply.status in (201, 202, 207):
            desk.promised |= taken_of(request.body, reply.document)
        else:
            assert reply.status in (400, 413, 415), reply.raw

    before = len(desk.promised)
    fuzz(any_post, inputs_of(0.15, 250), seed, request=posts(Generator(datetime.now(UTC))))
    desk.hang_up()
    print(f"answers: {dict(desk.answers)}; readings promised: {len(desk.promised) - before}")
    assert {202, 207, 400, 415} <= set(desk.answers)
    check_history(desk)


def check_history(desk: Desk) -> None:
    desk.watched.check_history(Counter(desk.promised), frozenset(desk.possible))


# --- broken requests --------------------------------------------------------------------------------------------------


@st.composite
def broken_posts(draw: st.DrawFn, generator: Generator) -> Request:
    """A request of whose head some bytes are changed: what its body holds is known all the same."""
    request = draw(posts(generator))
    head, end, content = request.raw.partition(b"\r\n\r\n")
    return Request(draw(mutated(st.just(head))) + end + content, request.body)


def lines_that_may_be(body: Body) -> set[str]:
    """The lines of everything in a body that could be a reading."""
    found = set()
    for ndjson in (False, True):
        try:
            items = items_of(body.content, ndjson=ndjson)
        except ValueError:
            continue
        for item in items:
            kind = kind_of(item)
            with suppress(AssertionError, KeyError, TypeError, ValueError, ArithmeticError):
                found |= {line_of(kind, item)} if kind else set()
    return found


@pytest.mark.timeout(3600)
def test_a_request_with_a_broken_head_is_answered_or_ends(desk: Desk, seed: int) -> None:
    ended = 0

    def any_bytes(request: Request) -> None:
        nonlocal ended
        desk.possible |= lines_that_may_be(request.body)
        with Connection(desk.node.port) as connection:
            connection.send(request.raw)
            connection.end()
            try:
                desk.note(connection.read())
            except (http.client.HTTPException, ConnectionError):
                ended += 1

    fuzz(any_bytes, inputs_of(0.05, 100), seed, request=broken_posts(Generator(datetime.now(UTC))))
    print(f"answers: {dict(desk.answers)}; ended without one: {ended}")
    check_history(desk)


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(3600)
def test_every_question_is_answered_or_refused(desk: Desk, seed: int) -> None:
    statuses: Counter[int] = Counter()

    def any_question(target: str) -> None:
        reply = desk.ask(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"), "GET")
        assert reply.status in (200, 400, 404), reply.raw
        statuses[reply.status] += 1

    fuzz(any_question, inputs_of(0.05, 150), seed, target=questions([KNOWN], Values([KNOWN], datetime.now(UTC))))
    desk.hang_up()
    print(f"answers: {dict(statuses)}")
    assert set(statuses) == {200, 400, 404}
    check_history(desk)
