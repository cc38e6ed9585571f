"""Both kinds in one body, and devices that nothing is taken of."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie.acceptor.answers import answer_rejected
from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.parse import Parsed, ReadingParser
from hseie.access import NOT_ALLOWED, OVER_QUOTA
from hseie.readings import KINDS, METER, VEHICLE

NOW = datetime(2026, 2, 9, 12, 0, 0, tzinfo=UTC).timestamp()
TIME = "2026-02-09T12:00:00Z"
METERED = {"meterId": "A", "kwhConsumedAc": 10.5, "voltage": 230, "timestamp": TIME}
DRIVEN = {"vehicleId": "A", "soc": 75.5, "kwhDeliveredDc": 9.5, "batteryTemp": 20, "timestamp": TIME}


def _parse(
    document: object, kind=None, *, shards: int = 2, admits: Callable[[str], str | None] | None = None
) -> Parsed:
    parser = ReadingParser(shards, 1000, future_max_s=300, past_max_days=400)
    lines = isinstance(document, bytes)
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parser.parse(body, kind, NOW, admits, lines=lines)


def _codes(parsed: Parsed) -> list[tuple[int | None, str, str]]:
    return [(error.index, error.pointer, error.code) for error in parsed.errors]


def _lines(parsed: Parsed, kind: int) -> list[str]:
    return [line for lines in parsed.rows.get(kind, {}).values() for line in lines]


def test_both_kinds_in_one_body() -> None:
    parsed = _parse([METERED, DRIVEN, METERED])
    assert (parsed.accepted, parsed.rejected, parsed.errors) == (3, 0, [])
    assert _lines(parsed, METER.number) == ["A\t2026-02-09T12:00:00\t10.5000\t230.00\n"] * 2
    assert _lines(parsed, VEHICLE.number) == ["A\t2026-02-09T12:00:00\t75.50\t9.5000\t20.00\n"]


@pytest.mark.parametrize(("one", "kind"), [(METERED, METER), (DRIVEN, VEHICLE)])
def test_one_object_of_either_kind(one: dict, kind) -> None:
    parsed = _parse(one)
    assert (parsed.is_batch, list(parsed.rows), parsed.device) == (False, [kind.number], "A")


def test_the_readings_of_a_device_keep_their_order() -> None:
    chance = random.Random(4)
    items = []
    for number in range(300):
        of = chance.choice([METERED, DRIVEN])
        id_wire, value = ("meterId", "voltage") if of is METERED else ("vehicleId", "soc")
        items.append({**of, id_wire: f"D{chance.randrange(5)}", value: number / 10})
    parsed = _parse(b"\n".join(map(orjson.dumps, items)), shards=3)
    assert parsed.accepted == 300
    for kind, value, column in ((METER, "voltage", 3), (VEHICLE, "soc", 2)):
        for device in {item[kind.id_wire] for item in items if kind.id_wire in item}:
            sent = [item[value] for item in items if item.get(kind.id_wire) == device]
            assert [
                float(row.split("\t")[column]) for row in _lines(parsed, kind.number) if row.startswith(device)
            ] == sent


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({}, "unknown_kind"),
        ({"voltage": 230}, "unknown_kind"),
        ({**METERED, **DRIVEN}, "unknown_kind"),
        ({"meterId": "A", "vehicleId": "A"}, "unknown_kind"),
        ({"meterid": "A"}, "unknown_kind"),
        (7, "not_an_object"),
        (None, "not_an_object"),
        ("meterId", "not_an_object"),
        (["meterId"], "not_an_object"),
    ],
)
def test_an_item_of_no_kind_has_that_one_error(item: object, code: str) -> None:
    parsed = _parse([METERED, item, DRIVEN])
    assert (parsed.accepted, parsed.rejected_indexes, _codes(parsed)) == (2, [1], [(1, "", code)])
    if code == "unknown_kind":
        assert all(kind.id_wire in parsed.errors[0].detail for kind in KINDS)


def test_one_with_both_ids_is_not_evened_out_by_one_with_none() -> None:
    parsed = _parse([{**METERED, "vehicleId": "A"}, {}, DRIVEN])
    assert (parsed.accepted, parsed.rejected_indexes) == (1, [0, 1])
    assert _codes(parsed) == [(0, "", "unknown_kind"), (1, "", "unknown_kind")]


def test_errors_stand_in_the_order_of_the_body() -> None:
    body = b"\n".join(
        orjson.dumps(item) if item is not None else b"{"
        for item in (
            {**DRIVEN, "soc": 101},
            None,
            {**METERED, "voltage": 501},
            {},
            {**DRIVEN, "batteryTemp": "x", "soc": -1},
            METERED,
            None,
            {**METERED, "meterId": ""},
        )
    )
    parsed = _parse(body)
    assert parsed.rejected_indexes == [0, 1, 2, 3, 4, 6, 7]
    assert _codes(parsed) == [
        (0, "/soc", "out_of_range"),
        (1, "", "bad_json"),
        (2, "/voltage", "out_of_range"),
        (3, "", "unknown_kind"),
        (4, "/soc", "out_of_range"),
        (4, "/batteryTemp", "bad_type"),
        (6, "", "bad_json"),
        (7, "/meterId", "bad_id"),
    ]


def test_the_first_hundred_errors_of_the_body_are_told() -> None:
    items = [{**METERED, "voltage": 501}, {**DRIVEN, "soc": 101}, {}] * 60
    parsed = _parse(items)
    assert (parsed.rejected, parsed.rejected_indexes) == (180, list(range(180)))
    assert [error.index for error in parsed.errors] == list(range(100))


items = st.sampled_from(
    [METERED, DRIVEN, {}, 7, {**METERED, **DRIVEN}, {**METERED, "voltage": 501}, {**DRIVEN, "vehicleId": ""}, b"{"]
)


@given(st.lists(items, min_size=1, max_size=12))
def test_each_item_of_a_mixed_body_fares_as_it_would_alone(sent: list) -> None:
    body = b"\n".join(one if isinstance(one, bytes) else orjson.dumps(one) for one in sent)
    parsed = _parse(body)
    alone = [_parse(one if isinstance(one, bytes) else orjson.dumps(one)) for one in sent]
    assert parsed.accepted == sum(one.accepted for one in alone)
    assert parsed.rejected_indexes == [index for index, one in enumerate(alone) if one.rejected]
    assert [(error.index, error.pointer, error.code) for error in parsed.errors] == [
        (index, error.pointer, error.code) for index, one in enumerate(alone) for error in one.errors
    ]
    for kind in KINDS:
        assert sorted(_lines(parsed, kind.number)) == sorted(line for one in alone for line in _lines(one, kind.number))


# Devices.


def _refusing(**codes: str) -> Callable[[str], str | None]:
    return codes.get


def test_a_refused_device_is_an_item_error_and_the_others_are_taken() -> None:
    sent = [METERED, {**METERED, "meterId": "B"}, {**DRIVEN, "vehicleId": "C"}, DRIVEN]
    parsed = _parse(sent, admits=_refusing(B=NOT_ALLOWED, C=OVER_QUOTA))
    assert (parsed.accepted, parsed.rejected_indexes) == (2, [1, 2])
    assert _codes(parsed) == [(1, "/meterId", NOT_ALLOWED), (2, "/vehicleId", OVER_QUOTA)]
    assert parsed.refused == {NOT_ALLOWED: 1, OVER_QUOTA: 1}
    assert [line[0] for kind in KINDS for line in _lines(parsed, kind.number)] == ["A", "A"]


def test_only_readings_that_are_otherwise_good_are_asked_about() -> None:
    asked: list[str] = []

    def admits(device: str) -> None:
        asked.append(device)

    bad = [
        {**METERED, "meterId": "<"},
        {**METERED, "meterId": "B", "voltage": 501},
        {**METERED, "meterId": "C", "timestamp": "2020-01-01T00:00:00Z"},
        {**METERED, "meterId": "D", "x": 1},
    ]
    _parse([METERED, *bad, {**METERED, "meterId": "E"}], METER, admits=admits)
    assert asked == ["A", "E"]


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        ([METERED], "device_not_allowed", 403),
        (METERED, "device_not_allowed", 403),
        ([{**METERED, "meterId": "B"}], "device_quota", 429),
        ({**METERED, "meterId": "B"}, "device_quota", 429),
        ([METERED, {**METERED, "meterId": "B"}], "device_not_allowed", 403),
        ([METERED, {**METERED, "voltage": 501}], "all_rejected", 400),
        ([{**METERED, "voltage": 501}], "all_rejected", 400),
        ({**METERED, "voltage": 501}, "invalid_reading", 400),
    ],
)
def test_the_answer_when_nothing_is_taken(sent: object, code: str, status: int) -> None:
    parsed = _parse(sent, METER, admits=_refusing(A=NOT_ALLOWED, B=OVER_QUOTA))
    answer = answer_rejected(parsed)
    document = orjson.loads(answer.body)
    assert (answer.status, document["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (status == 429)
    assert [error["pointer"] for error in document["errors"]]
    if isinstance(sent, list):
        assert (document["accepted"], document["rejectedIndexes"]) == (0, list(range(len(sent))))


def test_a_refusal_does_not_tell_what_is_allowed_or_sent() -> None:
    parsed = _parse({**METERED, "meterId": "SECRET"}, METER, admits=_refusing(SECRET=NOT_ALLOWED))
    assert "SECRET" not in json.dumps([error.detail for error in parsed.errors])


def test_an_empty_mixed_body() -> None:
    for document in ([], b"\n"):
        with pytest.raises(RejectedBodyError) as refused:
            _parse(document)
        assert refused.value.code == "empty_batch"
