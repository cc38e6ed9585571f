"""Pairings as CSV, and what JSON may say of one: all or nothing, and every mistake named."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hseie.pair_file import BadLinesError, apply, read_file, write_file
from hseie.pair_plan import Pair, Plan
from hseie.pair_request import InvalidPairError, Wanted, read_pair, read_time

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOON_TEXT = "2026-11-24T12:00:00Z"
HEAD = "vehicleId,meterId,validFrom,validTo\n"


def plan(*rows: Pair) -> Plan:
    return Plan(rows, NOON, timedelta(days=400))


def mistakes(text: str, *rows: Pair) -> list[int]:
    with pytest.raises(BadLinesError) as refused:
        apply(plan(*rows), read_file(text))
    assert all(f"line {number}: {why}" in str(refused.value) for number, why in refused.value.mistakes)
    return [number for number, _ in refused.value.mistakes]


def test_columns_in_any_order_blanks_and_lines_without_an_end() -> None:
    text = "\ufeffmeterId, vehicleId\r\n A ,V\r\n\r\n,W\r\n"
    assert [(line.number, line.wanted) for line in read_file(text)] == [(2, Wanted("V", "A")), (4, Wanted("W", None))]


def test_times() -> None:
    [line] = read_file(f"{HEAD}V,A,2026-11-24T13:00:00+01:00,2026-11-25T00:00:00Z")
    assert line.wanted == Wanted("V", "A", NOON, datetime(2026, 11, 25, tzinfo=UTC))


def test_every_bad_line_is_named() -> None:
    lines = ["V,A", "V,A,x,", ",A,,", "V,B,,", "V V,A,,", "V,A,2026-11-24T12:00:00,", f"V,A,{NOON_TEXT},{NOON_TEXT}"]
    assert mistakes(HEAD + "\n".join(lines)) == [2, 3, 4, 6, 7, 8]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("vehicleId\nV\n", 1),
        ("vehicleId,meterId,validFrom,until\n", 1),
        ("vehicleId,meterId,meterId\n", 1),
        (f'{HEAD}V,"A,,\n', 2),
        (f'{HEAD}V,"A"x,,\n', 2),
    ],
)
def test_what_is_no_such_file(text: str, line: int) -> None:
    assert mistakes(text) == [line]


def test_lines_are_taken_in_the_order_of_their_starts() -> None:
    text = (
        f"{HEAD}V,C,2026-11-25T00:00:00Z,\nV,A,2026-11-20T00:00:00Z,\nV,B,2026-11-22T00:00:00Z,2026-11-23T00:00:00Z\n"
    )
    found = plan()
    assert apply(found, read_file(text)) == 3
    rows = sorted(found.difference().inserted, key=lambda row: row.valid_from)
    assert [(row.meter_id, row.valid_to and row.valid_to.day) for row in rows] == [("A", 22), ("B", 23), ("C", None)]


def test_lines_that_take_each_other_back() -> None:
    # The same start twice; an end that is given, and the next line begins before it; a meter at two places.
    assert mistakes(f"{HEAD}V,A,2026-11-20T00:00:00Z,\nV,B,2026-11-20T00:00:00Z,\n") == [2]
    assert mistakes(f"{HEAD}V,A,2026-11-20T00:00:00Z,2026-11-25T00:00:00Z\nV,B,2026-11-22T00:00:00Z,\n") == [2]
    assert mistakes(f"{HEAD}V,A,2026-11-20T00:00:00Z,2026-11-23T00:00:00Z\nV,B,2026-11-22T00:00:00Z,\n") == [3]
    assert mistakes(f"{HEAD}V,A,2026-11-20T00:00:00Z,\nW,A,2026-11-20T00:00:00Z,\n") == [3]
    assert mistakes(f"{HEAD}V,A,,\nW,A,,\n") == [3]


def test_what_ended_is_in_the_way_of_a_file_too() -> None:
    ended = Pair("V", "A", NOON - timedelta(days=3), NOON - timedelta(days=1))
    assert mistakes(f"{HEAD}W,B,,\nV,B,2026-11-22T00:00:00Z,\n", ended) == [3]


def test_what_was_exported_is_taken_and_changes_nothing() -> None:
    rows = [
        Pair("V", "A", NOON - timedelta(days=500), NOON - timedelta(days=3, microseconds=1)),
        Pair("V", None, NOON - timedelta(days=3), NOON + timedelta(days=3)),
        Pair("V", "B", NOON + timedelta(days=3), None),
    ]
    text = write_file(rows)
    assert text.splitlines()[2] == "V,,2026-11-21T12:00:00.000Z,2026-11-27T12:00:00.000Z"
    assert apply(plan(*rows), read_file(text)) == 0
    [old, *young] = rows
    assert apply(plan(), read_file(write_file(young))) == 2
    assert mistakes(write_file([old])) == [2]  # older than readings may be, and not there


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        ([], ["not_an_object "]),
        ({}, ["missing_field /meterId"]),
        (
            {"meterId": 1, "validFrom": 2, "validTo": "x"},
            ["bad_type /meterId", "bad_type /validFrom", "bad_timestamp /validTo"],
        ),
        ({"meterId": "A", "color": 1, "<b>": 1}, ["unknown_field /color", "unknown_field "]),
        ({"meterId": "A", "vehicleId": "V"}, ["unknown_field /vehicleId"]),
        ({"meterId": ""}, ["bad_id /meterId"]),
        ({"meterId": "A\n"}, ["bad_id /meterId"]),
        ({"meterId": "A", "validFrom": "2026-02-30T00:00:00Z"}, ["bad_timestamp /validFrom"]),
        (
            {"meterId": "A", "validFrom": "2026-02-10T00:00:00Z", "validTo": "2026-02-09T00:00:00Z"},
            ["timestamp_out_of_range /validTo"],
        ),
    ],
)
def test_mistakes_in_json(document: Any, errors: list[str]) -> None:
    with pytest.raises(InvalidPairError) as refused:
        read_pair(document, vehicleId="V")
    assert [f"{error.code} {error.pointer}" for error in refused.value.errors] == errors


def test_json_without_a_meter_and_with_nothing_said_of_the_times() -> None:
    assert read_pair({"meterId": None, "validFrom": None, "validTo": None}, vehicleId="V") == Wanted("V", None)
    with pytest.raises(InvalidPairError):
        read_pair({"meterId": None}, vehicleId="no id")


def test_a_time_is_one_moment_however_it_is_written() -> None:
    texts = ("2026-11-24T12:00:00Z", "2026-11-24T12:00:00.000000+00:00", "2026-11-24T07:00:00-05:00")
    assert {read_time(text) for text in texts} == {NOON}
    for text, year in itertools.product(("{}-01-01T00:00:00Z",), ("1969", "2200", "0001", "9999")):
        assert read_time(text.format(year)) is None
