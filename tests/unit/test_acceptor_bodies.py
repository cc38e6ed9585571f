"""From bytes to items: arrays and lines, their limits, and what is said of a body that is no JSON."""

import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.acceptor import bodies
from hseie.acceptor.bodies import RejectedBodyError, read_json, read_lines, refuse_nests

ITEM = {"meterId": "METER_001", "voltage": 230.5}
LINE = orjson.dumps(ITEM)


def _detail(body: bytes) -> str:
    with pytest.raises(RejectedBodyError) as refused:
        read_json(body, 10)
    assert refused.value.code == "bad_json"
    return refused.value.detail


@pytest.mark.parametrize(
    "body",
    [
        LINE + b"\n" + LINE,
        LINE + b"\n" + LINE + b"\n",
        LINE + b"\r\n" + LINE + b"\r\n",
        b"\n\n" + LINE + b"\n \t\r\n\r\n" + LINE + b"\n\n\n",
        b"  " + LINE + b"  \n\t" + LINE + b"\t",
    ],
)
def test_lines(body: bytes) -> None:
    assert read_lines(body, 10) == ([ITEM, ITEM], {})


def test_a_line_may_be_any_json_and_one_line_is_enough() -> None:
    assert read_lines(b'5\n"x"\nnull\n[]\n', 10) == ([5, "x", None, []], {})
    assert read_lines(LINE, 1) == ([ITEM], {})


def test_a_line_that_is_no_json_is_one_item_at_its_index() -> None:
    items, not_json = read_lines(b"\n" + LINE + b'\n\n{"a":\n\x0c\n' + LINE + b"\n{}{}\n", 10)
    assert items == [ITEM, ITEM]
    assert sorted(not_json) == [1, 2, 4]
    assert "line 1" in not_json[1]


def test_an_object_across_two_lines_is_two_bad_lines() -> None:
    # Each of these bodies is an array of as many objects as it has lines, if its newlines were commas.
    for body in (b'{"a":{}\n"b":1}\n{},{}', b'{"a":"}\n{"}\n{},{}', b'{"a":1},{}\n{"x":[{}\n{}]}'):
        items, not_json = read_lines(body, 10)
        assert len(items) < 3
        assert len(not_json) >= 2


@pytest.mark.parametrize("body", [b"", b"\n", b"\r\n", b" \t \n\n\r\n", b"\n" * 5000])
def test_blank_lines_only(body: bytes) -> None:
    with pytest.raises(RejectedBodyError) as refused:
        read_lines(body, 10)
    assert refused.value.code == "empty_batch"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n" * 1000])
def test_the_limit_is_of_lines_that_are_not_blank(ending: bytes) -> None:
    assert len(read_lines(b"\n".join([LINE] * 10) + ending, 10)[0]) == 10
    with pytest.raises(RejectedBodyError) as refused:
        read_lines(b"\n".join([LINE] * 11) + ending, 10)
    assert (refused.value.code, refused.value.detail) == ("batch_too_large", "at most 10 readings a request")


@pytest.mark.parametrize("line", [LINE, b"{"])
def test_nothing_is_parsed_of_too_many_lines(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(text: bytes) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(bodies.orjson, "loads", never)
    with pytest.raises(RejectedBodyError):
        read_lines((line + b"\n") * 11, 10)


def test_millions_of_lines_are_not_listed() -> None:
    body = b"1\n" * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(RejectedBodyError):
            read_lines(body, 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(body)  # a list of them takes twenty times as much


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark (BOM)"),
        (b"\xef\xbb\xbf", "byte order mark (BOM)"),
        ("{}".encode("utf-16"), "UTF-16"),
        ("{}".encode("utf-16-le"), "UTF-16"),
        ("{}".encode("utf-16-be"), "UTF-16"),
        ("{}".encode("utf-32"), "UTF-16 or UTF-32"),
        (b"{}{}", "NDJSON"),
        (b'{"a": 1}\n{"a": 2}\n', "NDJSON"),
        (b"[1]\n[2]", "line 2, column 1"),
        (b'{"a": 1,}', "trailing comma"),
        (b'{"a": 1', "line 1, column"),
        (b"", "line 1, column 1"),
    ],
)
def test_what_is_said_of_a_body_that_is_no_json(body: bytes, word: str) -> None:
    assert word in _detail(body)


def test_nothing_of_the_body_is_repeated() -> None:
    for body in (b"<script>", b'{"a": <script>}', b"{}<script>", b'{"<script>": "\xff"}'):
        assert "script" not in _detail(body)
        assert "script" not in read_lines(body, 10)[1][0]


def test_the_first_line_may_have_a_byte_order_mark_and_is_told() -> None:
    items, not_json = read_lines(b"\xef\xbb\xbf" + LINE + b"\n" + LINE, 10)
    assert items == [ITEM]
    assert "BOM" in not_json[0]


def test_of_a_member_named_twice_the_last_counts() -> None:
    assert read_json(b'{"voltage": 999, "voltage": 230}', 10) == ([{"voltage": 230}], False)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(values | st.just(b"{") | st.just(b"\xff"), min_size=1, max_size=8), st.sampled_from([b"\n", b"\r\n\n"]))
def test_every_line_is_an_item_or_a_reason(lines: list, newline: bytes) -> None:
    body = newline.join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)
    items, not_json = read_lines(body, 8)
    assert items == [one for one in lines if not isinstance(one, bytes)]
    assert sorted(not_json) == [index for index, one in enumerate(lines) if isinstance(one, bytes)]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_body_of_nothing_but_arrays_or_objects_is_not_even_parsed(opening: bytes) -> None:
    def nested(count: int) -> bytes:
        return b"[" + b",".join([opening + b"0" + (b"]" if opening == b"[" else b"}")] * count) + b"]"

    for items_max, limit in ((10, 10_000), (5_000, 20_000)):
        refuse_nests(nested(limit - 1), items_max)
        with pytest.raises(RejectedBodyError) as refused:
            refuse_nests(nested(limit), items_max)
        assert refused.value.code == "batch_too_large"
        assert str(limit) in refused.value.detail
