"""The comparison of the books with the tables."""

import re
from dataclasses import replace

import pytest

from hseie.audit import Book, Tables, compare, in_flight

BOOKS = [
    Book("a", 0, 2, "meter", received=12, stored=10, duplicates=1, dead_lettered=1),
    Book("b", 1, 2, "meter", received=5, stored=5, duplicates=0, dead_lettered=0),
]
TABLES = Tables(history=15, devices=3, dead_letters=1, current_differs=0, differing_example=None, without_current=0)


def test_books_that_balance() -> None:
    audit = compare(BOOKS, {"meter": TABLES}, {"meter": 7})
    assert audit.balanced
    meter = audit.kinds["meter"]
    assert (meter.received, meter.stored, meter.duplicates, meter.dead_lettered, meter.in_flight) == (17, 15, 1, 1, 7)
    assert audit.as_dict()["balanced"] is True
    assert audit.as_dict()["kinds"]["meter"]["tables"]["history"] == 15


@pytest.mark.parametrize(
    ("tables", "place"),
    [
        (replace(TABLES, history=14), "meter_history has 14 rows, the books say 15"),
        (replace(TABLES, dead_letters=0), "dead_letter has 0 rows of kind meter, the books say 1"),
        (
            replace(TABLES, current_differs=2, differing_example="M1"),
            "meter_current differs .* 2 devices, for example M1",
        ),
        (replace(TABLES, without_current=1), "meter_current lacks 1 devices"),
    ],
)
def test_each_difference_is_named(tables: Tables, place: str) -> None:
    audit = compare(BOOKS, {"meter": tables}, None)
    assert not audit.balanced
    (difference,) = audit.differences
    assert re.search(place, difference)


def test_a_book_that_does_not_add_up_is_named_by_its_shard() -> None:
    audit = compare([replace(BOOKS[0], received=13), BOOKS[1]], {"meter": TABLES}, None)
    (difference,) = audit.differences
    assert "shard 0 of 2, meter" in difference


def test_what_is_in_flight_comes_from_the_writers() -> None:
    counts = {"meter": {"waiting": 3, "active": 2}, "vehicle": {"waiting": 1, "active": 0}}
    writer = {"role": "writer", "stats": {"kinds": counts}}
    assert in_flight({"processes": [writer, {"role": "acceptor", "stats": {}}, writer]}) == {"meter": 10, "vehicle": 2}
    assert in_flight(None) is None
    # One that is down holds readings too, and cannot say how many.
    assert in_flight({"processes": [writer, {"role": "writer", "stats": {}}]}) is None
