"""Answers put together from pieces, and what they say."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.answers import Verdict, read_answer
from simulator.http1 import Answer, AnswerReader, GarbledError, Target, parse_head, request_head

WHOLE = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\ncontent-length: 5\r\n\r\nhello"


def read_one(*pieces: bytes) -> Answer | None:
    reader = AnswerReader()
    answer = None
    for piece in pieces:
        assert answer is None
        answer = reader.feed(piece)
    return answer


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_an_answer_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts) - {0, len(WHOLE)}), len(WHOLE)]
    pieces = [WHOLE[a:b] for a, b in itertools.pairwise(edges)]
    assert read_one(*pieces) == Answer(503, "3", b"hello", True)


def test_one_reader_reads_answer_after_answer() -> None:
    reader = AnswerReader()
    assert reader.feed(WHOLE[:20]) is None
    assert reader.feed(WHOLE[20:]) == Answer(503, "3", b"hello", True)
    assert reader.feed(b"HTTP/1.1 204 No Content\r\n\r\n") == Answer(204, None, b"", True)
    assert reader.feed(WHOLE) == Answer(503, "3", b"hello", True)


def test_interim_answers_are_skipped() -> None:
    assert read_one(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE) == Answer(503, "3", b"hello", True)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive", True),
        (b"HTTP/1.1 200 OK", False),
    ],
)
def test_when_a_connection_is_kept(head: bytes, keep_alive: bool) -> None:
    assert parse_head(head).keep_alive is keep_alive


def test_without_a_length_the_end_of_the_connection_ends_the_answer() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\npart") is None
    assert reader.feed(b"ly") is None
    assert reader.at_end() == Answer(200, None, b"partly", False)


def test_an_answer_cut_off_is_none() -> None:
    for cut in range(len(WHOLE)):
        reader = AnswerReader()
        assert reader.feed(WHOLE[:cut]) is None
        assert reader.at_end() is None


@pytest.mark.parametrize(
    "data",
    [
        WHOLE + b"x",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(GarbledError):
        AnswerReader().feed(data)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:3000", Target("127.0.0.1", 3000, "")),
        ("http://host/", Target("host", 80, "")),
        ("http://host:81/base/", Target("host", 81, "/base")),
        ("http://[::1]:3000", Target("::1", 3000, "")),
    ],
)
def test_addresses(url: str, target: Target) -> None:
    assert Target.of(url) == target


@pytest.mark.parametrize("url", ["ftp://host", "host:3000", "http://", "http://u:p@host", "http://h?x", "http://h:x"])
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Target.of(url)


def test_the_head_of_a_request() -> None:
    head = request_head(Target("::1", 3000, "/base"), "/v1/ingest/meter", {"Prefer": "wait"})
    assert head == b"POST /base/v1/ingest/meter HTTP/1.1\r\nHost: [::1]:3000\r\nPrefer: wait\r\nContent-Length: "


MANY = b'{"accepted":7,"duplicates":2,"rejected":1,"errors":[{"index":4},{"index":4},{"index":null},7]}'


@pytest.mark.parametrize(
    ("count", "status", "body", "verdict"),
    [
        (1, 202, b'{"success":true}', Verdict(accepted=1)),
        (1, 201, b'{"success":true,"duplicate":true}', Verdict(duplicates=1)),
        (1, 202, b"", Verdict(accepted=1)),
        (1, 400, b'{"errors":[{"pointer":"/soc"}]}', Verdict(rejected=1, rejected_at=(0,))),
        (1, 500, b"oops", Verdict(rejected=1, rejected_at=(0,))),
        (10, 207, MANY, Verdict(accepted=7, duplicates=2, rejected=1, rejected_at=(4,))),
        (1, 202, b'{"accepted":0,"duplicates":1,"rejected":0}', Verdict(duplicates=1)),
        (2, 202, b"[]", Verdict(accepted=2)),
        (2, 413, b"{}", Verdict(rejected=2, rejected_at=(0, 1))),
        (2, 400, b'{"accepted":0,"rejected":2,"errors":"many"}', Verdict(rejected=2)),
        (2, 202, b'{"accepted":"2"}', Verdict()),
    ],
)
def test_what_an_answer_says(count: int, status: int, body: bytes, verdict: Verdict) -> None:
    assert read_answer(count, status, body) == verdict


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict(accepted=1, rejected=1), "accepted"),
        (Verdict(duplicates=1), "accepted"),
        (Verdict(rejected=1), "rejected"),
        (Verdict(failed=1), "failed"),
        (Verdict(unknown=1), "unknown"),
    ],
)
def test_an_outcome_in_one_word(verdict: Verdict, outcome: str) -> None:
    assert verdict.outcome == outcome
