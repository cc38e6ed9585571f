"""The head of a request: media types, codings and preferences, to the letter."""

import time

import pytest

from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.request_head import Preference, coding_of, is_ndjson, read_preference


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("application/json", False),
        ("text/json", False),
        ("Application/JSON", False),
        ("application/x-ndjson", True),
        ("application/ndjson", True),
        ("application/jsonl", True),
        ("APPLICATION/X-NDJSON; charset=utf-8", True),
        ("application/json;charset=utf-8", False),
        ("application/json ; charset=UTF-8 ", False),
        ('application/json; charset="Utf-8"', False),
        ("application/json; charset=utf8", False),
        ("application/json; CHARSET=utf-8", False),
        ('application/json; boundary=x; profile="a;charset=latin-1"; v=1', False),
        ("application/json;", False),
        ("application/json;;", False),
    ],
)
def test_types_that_are_taken(header: str, expected: bool) -> None:
    assert is_ndjson([header]) is expected


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ([], "no Content-Type"),
        (["application/json", "application/json"], "several"),
        (["application/json", "text/plain"], "several"),
        ([""], "not a media type"),
        (["json"], "not a media type"),
        (["application/"], "not a media type"),
        (["application/json, application/json"], "not a media type"),
        (["application/json charset=utf-8"], "not a media type"),
        (["application/json; charset"], "not a media type"),
        (["application/json; charset="], "not a media type"),
        (["application/json; charset = utf-8"], "not a media type"),
        (['application/json; charset="utf-8'], "not a media type"),
        (["text/plain"], "another type"),
        (["application/jsonx"], "another type"),
        (["application/vnd.x+json"], "another type"),
        (["application/x-www-form-urlencoded"], "another type"),
        (["multipart/form-data; boundary=x"], "another type"),
        (["application/json; charset=latin-1"], "another charset"),
        (["application/json; charset=utf-16"], "another charset"),
        (["application/json; charset=utf-8; charset=latin-1"], "another charset"),
        (['application/x-ndjson; charset="iso-8859-1"'], "another charset"),
    ],
)
def test_types_that_are_not(headers: list[str], word: str) -> None:
    for _ in range(2):  # from the pattern, and as it is remembered
        with pytest.raises(RejectedBodyError) as refused:
            is_ndjson(headers)
        assert refused.value.code == "unsupported_media_type"
        assert word in refused.value.detail
        assert "application/x-ndjson" in refused.value.detail
        assert refused.value.headers == {"Accept": "application/json, application/x-ndjson"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["gzip"], "gzip"),
        (["GZIP"], "gzip"),
        (["x-gzip"], "gzip"),
        (["X-Gzip"], "gzip"),
        (["deflate"], "deflate"),
        (["identity, gzip"], "gzip"),
        (["identity", "gzip"], "gzip"),
        ([" gzip ,"], "gzip"),
    ],
)
def test_codings_that_are_taken(headers: list[str], expected: str | None) -> None:
    assert coding_of(headers) == expected


@pytest.mark.parametrize(
    "headers", [["br"], ["zstd"], ["compress"], ["gzip, gzip"], ["gzip", "gzip"], ["gzip, br"], ["gzip;q=1"], ["gzi p"]]
)
def test_codings_that_are_not(headers: list[str]) -> None:
    with pytest.raises(RejectedBodyError) as refused:
        coding_of(headers)
    assert refused.value.code == "unsupported_media_type"
    assert "gzip or deflate" in refused.value.detail
    assert refused.value.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize(
    ("header", "default", "expected"),
    [
        ("", False, Preference(False, 30.0)),
        ("", True, Preference(True, 30.0)),
        ("wait", False, Preference(True, 30.0, "wait")),
        ('wait=""', False, Preference(True, 30.0, "wait")),
        ("wait=10", False, Preference(True, 10.0, "wait=10")),
        ('wait="10"', False, Preference(True, 10.0, "wait=10")),
        ("Wait = 10", False, Preference(True, 10.0, "wait=10")),
        ("wait=0", True, Preference(True, 0.0, "wait=0")),
        ("wait=99999", False, Preference(True, 30.0, "wait=99999")),
        ("wait=99999999999", False, Preference(True, 30.0, "wait=99999999999")),
        ("wait=10; x=1; y", False, Preference(True, 10.0, "wait=10")),
        ("wait=10;", False, Preference(True, 10.0, "wait=10")),
        ("respond-async", True, Preference(False, 0.0, "respond-async")),
        ("Respond-Async; x", True, Preference(False, 0.0, "respond-async")),
        ("handling=lenient; x=1, WAIT=5", False, Preference(True, 5.0, "wait=5")),
        ('foo="a, wait=5", respond-async', True, Preference(False, 0.0, "respond-async")),
        ('foo="a\\\\", wait=5, x="', False, Preference(True, 5.0, "wait=5")),
        (", ,wait=5,", False, Preference(True, 5.0, "wait=5")),
        # Both: section 4.3.
        ("respond-async, wait=10", True, Preference(True, 10.0, "wait=10", "respond-async")),
        ("wait=10, respond-async", False, Preference(True, 10.0, "wait=10", "respond-async")),
        # The first of two.
        ("wait=10, wait=5", False, Preference(True, 10.0, "wait=10")),
        ("wait=-1, wait=5", False, Preference(False, 30.0)),
        # Not what they look like.
        ("wait=-1", False, Preference(False, 30.0)),
        ("wait=1.5", False, Preference(False, 30.0)),
        ("wait=ten", True, Preference(True, 30.0)),
        ("wait=", False, Preference(False, 30.0)),
        ("wait=" + "9" * 21, False, Preference(False, 30.0)),
        ("respond-async=1", True, Preference(True, 30.0)),
        ("wait 10", False, Preference(False, 30.0)),
        ('"wait=10"', False, Preference(False, 30.0)),
        ('foo="wait=10', False, Preference(False, 30.0)),
        ("nonsense", True, Preference(True, 30.0)),
        ("wait=\u0661", False, Preference(False, 30.0)),
    ],
)
def test_preferences(header: str, default: bool, expected: Preference) -> None:
    assert read_preference(header, default, 30.0) == expected


@pytest.mark.parametrize("piece", ['"\\', '\\"', "; ", " ;", 'a="', ",", "wait = ", "a=b;", "a", '"a",'])
def test_no_header_takes_long(piece: str) -> None:
    # 400 kB take some milliseconds, or hours if a pattern tries a part twice: the test then does not end.
    began = time.monotonic()
    text = piece * (400_000 // len(piece))
    for ending in ("", "!", '"', "\\", "\u00e9"):
        read_preference(text + ending, False, 30.0)
        with pytest.raises(RejectedBodyError):
            is_ndjson([text + ending + "\n"])
        with pytest.raises(RejectedBodyError):
            is_ndjson(["application/json;" + text + ending + "\n"])
    print(f"{piece!r}: {time.monotonic() - began:.3f} s")
