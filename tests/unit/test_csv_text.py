"""CSV as RFC 4180 has it, and who gets it."""

import csv
import io

import pytest

from hseie.csv_text import csv_text, prefers_csv
from hseie.readings import ID_PATTERN, is_device_id


def test_a_table_is_what_a_reader_of_csv_reads() -> None:
    rows = [{"id": "A", "n": -1.5}, {"id": 'say "hi", \r\nthere', "n": None}, {"id": "é"}]
    text = csv_text(("id", "n"), rows)
    assert text.startswith(b"id,n\r\nA,-1.5\r\n")
    assert list(csv.reader(io.StringIO(text.decode(), newline=""))) == [
        ["id", "n"], ["A", "-1.5"], ['say "hi", \r\nthere', ""], ["é", ""],
    ]  # fmt: skip


def test_a_table_without_rows_has_its_header() -> None:
    assert csv_text(("a", "b"), []) == b"a,b\r\n"


def test_no_id_can_be_a_formula_that_does_anything() -> None:
    # Beginning with "-" it may be one, and then all that it can do is to show another cell. With any of these in the
    # alphabet, csv_text would have to do something about it.
    for character in "=+@\t\r\n()'\"!|,; ":
        assert not is_device_id(f"A{character}1"), character
        assert character not in ID_PATTERN.removeprefix("^[").partition("]")[0]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/csv", True),
        ("TEXT/CSV", True),
        ("text/csv; charset=utf-8", True),
        ("text/csv, */*;q=0.1", True),
        ("text/csv;q=0.5, application/json", False),
        ("text/csv, application/json", False),
        ("application/json;q=0.3, text/csv;q=0.4", True),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/csvx", False),
        (",;q=,", False),
    ],
)
def test_who_wants_csv(accept: str, wanted: bool) -> None:
    assert prefers_csv(accept) == wanted
