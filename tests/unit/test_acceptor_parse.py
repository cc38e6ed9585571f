"""Bodies: what is taken, what is refused, and that every wrong field of every wrong item is named."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.explain import explain
from hseie.acceptor.parse import Parsed, ReadingParser
from hseie.frames import shard_of
from hseie.readings import METER, VEHICLE

NOW = datetime(2026, 2, 9, 12, 0, 0, tzinfo=UTC).timestamp()
GOOD = {"meterId": "METER_001", "kwhConsumedAc": 10.5, "voltage": 230, "timestamp": "2026-02-09T12:00:00Z"}


def _parse(document: object, kind=METER, *, shards: int = 2, batch_max: int = 100) -> Parsed:
    parser = ReadingParser(shards, batch_max, future_max_s=300, past_max_days=400)
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parser.parse(body, kind, NOW)


def _codes(parsed: Parsed) -> list[tuple[int | None, str, str]]:
    return [(error.index, error.pointer, error.code) for error in parsed.errors]


def test_one_object_becomes_one_row_of_its_shard() -> None:
    parsed = _parse(GOOD)
    shard = shard_of("METER_001", 2)
    assert parsed.rows == {METER.number: {shard: ["METER_001\t2026-02-09T12:00:00\t10.5000\t230.00\n"]}}
    assert (parsed.is_batch, parsed.accepted, parsed.rejected, parsed.errors) == (False, 1, 0, [])


def test_a_vehicle_has_its_own_columns() -> None:
    reading = {
        "vehicleId": "V",
        "soc": 75.5,
        "kwhDeliveredDc": 9.5,
        "batteryTemp": -20,
        "timestamp": "2026-02-09T12:00:00.5Z",
    }
    assert list(_parse(reading, VEHICLE).rows[VEHICLE.number].values()) == [
        ["V\t2026-02-09T12:00:00.5\t75.50\t9.5000\t-20.00\n"]
    ]


def test_a_batch_keeps_its_order_in_each_shard() -> None:
    items = [{**GOOD, "meterId": f"M{number % 3}", "kwhConsumedAc": number} for number in range(30)]
    parsed = _parse(items, shards=4)
    assert parsed.accepted == 30
    for shard, rows in parsed.rows[METER.number].items():
        expected = [i["kwhConsumedAc"] for i in items if shard_of(i["meterId"], 4) == shard]
        assert [float(row.split("\t")[2]) for row in rows] == expected


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_json"),
        (b"  \n", "bad_json"),
        (b'{"meterId": "A"', "bad_json"),
        (b"{}{}", "bad_json"),
        (b'{"a": 1,}', "bad_json"),
        (b"\xef\xbb\xbf{}", "bad_json"),
        ('{"a": "x"}'.encode("utf-16"), "bad_json"),
        (b'{"a": "\xff"}', "bad_json"),
        (b'{"a": "\\ud800"}', "bad_json"),
        (b'{"a": NaN}', "bad_json"),
        (b'{"a": Infinity}', "bad_json"),
        (b"[" * 2000 + b"]" * 2000, "bad_json"),
        (b"null", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"5", "not_an_object"),
        (b"[]", "empty_batch"),
        (json.dumps([GOOD] * 101).encode(), "batch_too_large"),
    ],
)
def test_a_body_that_is_refused_whole(body: bytes, code: str) -> None:
    with pytest.raises(RejectedBodyError) as refused:
        _parse(body)
    assert refused.value.code == code


def test_a_batch_of_exactly_the_limit_is_taken() -> None:
    assert _parse([GOOD] * 100).accepted == 100


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kwhConsumedAc": None}, ("/kwhConsumedAc", "bad_type")),
        ({"kwhConsumedAc": "10.5"}, ("/kwhConsumedAc", "bad_type")),
        ({"kwhConsumedAc": True}, ("/kwhConsumedAc", "bad_type")),
        ({"kwhConsumedAc": [1]}, ("/kwhConsumedAc", "bad_type")),
        ({"kwhConsumedAc": -0.0001}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": 1_000_000}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": 999_999.99995}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": 2**64}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": 2**63}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": -(2**64) - 1}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": -1e-320}, ("/kwhConsumedAc", "out_of_range")),
        ({"kwhConsumedAc": 1e308}, ("/kwhConsumedAc", "out_of_range")),
        ({"voltage": 500.01}, ("/voltage", "out_of_range")),
        ({"voltage": -1}, ("/voltage", "out_of_range")),
        ({"meterId": 5}, ("/meterId", "bad_type")),
        ({"meterId": None}, ("/meterId", "bad_type")),
        ({"meterId": ""}, ("/meterId", "bad_id")),
        ({"meterId": "x" * 51}, ("/meterId", "bad_id")),
        ({"meterId": "a\u0000b"}, ("/meterId", "bad_id")),
        ({"meterId": "a\tb"}, ("/meterId", "bad_id")),
        ({"meterId": "a\n"}, ("/meterId", "bad_id")),
        ({"meterId": "a\\b"}, ("/meterId", "bad_id")),
        ({"meterId": "😀"}, ("/meterId", "bad_id")),
        ({"timestamp": "now"}, ("/timestamp", "bad_timestamp")),
        ({"timestamp": "infinity"}, ("/timestamp", "bad_timestamp")),
        ({"timestamp": "2026-02-30T00:00:00Z"}, ("/timestamp", "bad_timestamp")),
        ({"timestamp": "2026-02-09T12:00:00"}, ("/timestamp", "bad_timestamp")),
        ({"timestamp": "2026-02-09"}, ("/timestamp", "bad_timestamp")),
        ({"timestamp": "2026-W07-1T12:00:00Z"}, ("/timestamp", "bad_timestamp")),
        ({"timestamp": 1770638400}, ("/timestamp", "bad_type")),
        ({"timestamp": "9999-12-31T23:59:59Z"}, ("/timestamp", "timestamp_out_of_range")),
        ({"timestamp": "0001-01-01T00:00:00+10:00"}, ("/timestamp", "timestamp_out_of_range")),
        ({"timestamp": "2026-02-09T12:06:00Z"}, ("/timestamp", "timestamp_out_of_range")),
        ({"timestamp": "2025-01-05T11:59:59Z"}, ("/timestamp", "timestamp_out_of_range")),
        ({"color": "red"}, ("/color", "unknown_field")),
        ({"a\nb": "red"}, ("", "unknown_field")),
    ],
)
def test_one_wrong_field_is_named(change: dict, expected: tuple[str, str]) -> None:
    parsed = _parse({**GOOD, **change})
    assert _codes(parsed) == [(None, *expected)]
    assert (parsed.accepted, parsed.rejected, parsed.rows) == (0, 1, {})


@pytest.mark.parametrize(
    "change",
    [
        {"kwhConsumedAc": 0},
        {"kwhConsumedAc": -0.0},
        {"kwhConsumedAc": 1e-320},
        {"kwhConsumedAc": 999_999.9999},
        {"voltage": 0},
        {"voltage": 500},
        {"meterId": "x" * 50},
        {"timestamp": "2026-02-09T12:05:00Z"},
        {"timestamp": "2025-01-05T12:00:00Z"},
        {"timestamp": "2026-02-09T14:00:00+02:00"},
    ],
)
def test_the_edge_itself_is_inside(change: dict) -> None:
    assert _parse({**GOOD, **change}).errors == []


@pytest.mark.parametrize(("value", "text"), [(-0.0, "0.0000"), (1e-320, "0.0000"), (999_999.99994, "999999.9999")])
def test_numbers_at_the_edge_are_written_as_the_column_has_them(value: float, text: str) -> None:
    [[row]] = _parse({**GOOD, "kwhConsumedAc": value}).rows[METER.number].values()
    assert row.split("\t")[2] == text


@pytest.mark.parametrize(
    ("wire", "inside", "outside"),
    [
        ("soc", (0, 100), (-0.01, 100.01)),
        ("batteryTemp", (-20, 80), (-20.01, 80.01)),
        ("kwhDeliveredDc", (0, 999_999.9999), (-0.0001, 999_999.99995)),
    ],
)
def test_the_ranges_of_a_vehicle(wire: str, inside: tuple, outside: tuple) -> None:
    good = {"vehicleId": "V", "soc": 1, "kwhDeliveredDc": 1, "batteryTemp": 1, "timestamp": GOOD["timestamp"]}
    for value in inside:
        assert _parse({**good, wire: value}, VEHICLE).errors == []
    for value in outside:
        assert _codes(_parse({**good, wire: value}, VEHICLE)) == [(None, f"/{wire}", "out_of_range")]


def test_a_number_of_many_digits_is_out_of_range_or_no_json() -> None:
    body = json.dumps(GOOD).replace("10.5", "1" + "0" * 300).encode()
    assert _codes(_parse(body)) == [(None, "/kwhConsumedAc", "out_of_range")]
    with pytest.raises(RejectedBodyError, match="bad_json"):  # no double holds it
        _parse(json.dumps(GOOD).replace("10.5", "1" + "0" * 400).encode())


def test_of_a_member_named_twice_the_last_counts() -> None:
    assert _parse(json.dumps(GOOD)[:-1].encode() + b', "voltage": 501}').rejected == 1
    assert _parse(b'{"voltage": 501, ' + json.dumps(GOOD)[1:].encode()).accepted == 1


def test_every_wrong_field_of_every_wrong_item_is_named() -> None:
    items = [
        GOOD,
        {"meterId": "", "voltage": 501, "timestamp": "x", "extra": 1},
        GOOD | {"voltage": "a"},
        7,
        GOOD | {"kwhConsumedAc": 11},
    ]
    parsed = _parse(items)
    assert (parsed.accepted, parsed.rejected, parsed.rejected_indexes) == (2, 3, [1, 2, 3])
    assert sorted(_codes(parsed)) == [
        (1, "/extra", "unknown_field"),
        (1, "/kwhConsumedAc", "missing_field"),
        (1, "/meterId", "bad_id"),
        (1, "/timestamp", "bad_timestamp"),
        (1, "/voltage", "out_of_range"),
        (2, "/voltage", "bad_type"),
        (3, "", "not_an_object"),
    ]


def test_nothing_of_the_sender_is_echoed() -> None:
    parsed = _parse({**GOOD, "meterId": "<script>", "voltage": "<script>", "<script>": 1})
    assert "script" not in " ".join(error.detail + error.pointer for error in parsed.errors)


def test_the_window_of_time_moves_with_the_clock() -> None:
    parser = ReadingParser(1, 10, future_max_s=300, past_max_days=400)
    late = json.dumps({**GOOD, "timestamp": "2026-02-09T13:00:00Z"}).encode()
    assert parser.parse(late, METER, NOW).rejected == 1
    assert parser.parse(late, METER, NOW + timedelta(hours=1).total_seconds()).accepted == 1


def test_the_memory_of_devices_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.acceptor.parse.DEVICES_REMEMBERED_MAX", 10)
    parser = ReadingParser(2, 100, 300, 400)
    parser.parse(json.dumps([{**GOOD, "meterId": f"M{number}"} for number in range(95)]).encode(), METER, NOW)
    assert len(parser._shard_of_device) <= 10


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=60)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
fields = st.sampled_from(["meterId", "voltage", "kwhConsumedAc", "timestamp", "x"])
objects = st.dictionaries(fields, documents, max_size=5).map(lambda change: {**GOOD, **change})


@given(st.lists(objects | st.just(GOOD) | documents, min_size=1, max_size=5))
def test_no_input_is_lost_or_half_taken(items: list) -> None:
    body = json.dumps(items, allow_nan=False, default=str) if _is_finite(items) else None
    if body is None:
        return
    try:
        parsed = _parse(body.encode("utf-8", "surrogatepass"))
    except RejectedBodyError as refused:
        assert refused.code == "bad_json"
        return
    assert parsed.accepted + parsed.rejected == len(items)
    assert sum(len(lines) for rows in parsed.rows.values() for lines in rows.values()) == parsed.accepted
    assert {error.index for error in parsed.errors} == {
        index for index in range(len(items)) if _parse([items[index]]).rejected
    }


def _is_finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def test_no_more_is_explained_than_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    explained = []

    def explain_and_count(*arguments: object) -> list:
        explained.append(1)
        return explain(*arguments)

    monkeypatch.setattr("hseie.acceptor.parse.explain", explain_and_count)
    parsed = _parse([{**GOOD, "voltage": 501}] * 150, batch_max=1000)
    assert (parsed.rejected, len(parsed.rejected_indexes), len(parsed.errors), len(explained)) == (150, 150, 100, 100)
    crowded = {f"x{number}": 1 for number in range(1000)}
    parsed = _parse([crowded] * 50)
    assert (parsed.rejected, len(parsed.errors)) == (50, 100)


def test_a_body_that_only_opens_arrays_is_refused_as_a_whole() -> None:
    with pytest.raises(RejectedBodyError, match="batch_too_large"):
        _parse([[[]] * 40 for _ in range(300)], batch_max=1000)
