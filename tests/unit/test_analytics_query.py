"""Query parameters: strict, every mistake named."""

from datetime import UTC, datetime, timedelta

import pytest
from multidict import MultiDict

from hseie.analytics.history import Page, make_cursor, page_of, read_cursor
from hseie.analytics.performance import PARAMETERS, window_of
from hseie.analytics.query import BadParameterError, Query
from hseie.config import Config

NOW = datetime(2026, 2, 9, 12, 0, 0, 1500, tzinfo=UTC)
CONFIG = Config()


def _window(**given: str) -> tuple[datetime, datetime, str]:
    window, period = window_of(Query(given, PARAMETERS), CONFIG, NOW)
    return window.start, window.end, period


def test_the_last_day_is_the_default() -> None:
    assert _window() == (NOW - timedelta(days=1), NOW, "24h")


@pytest.mark.parametrize(
    ("text", "length"), [("90m", timedelta(minutes=90)), ("24h", timedelta(days=1)), ("7d", timedelta(days=7))]
)
def test_windows(text: str, length: timedelta) -> None:
    assert _window(window=text) == (NOW - length, NOW, text)


def test_ranges() -> None:
    start, end, period = _window(**{"from": "2026-02-08T00:00:00Z", "to": "2026-02-09T01:00:00+01:00"})
    assert (start, end) == (datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 9, tzinfo=UTC))
    assert period == "2026-02-08T00:00:00.000Z/2026-02-09T00:00:00.000Z"
    # A plus sign that was not encoded arrives as a blank.
    assert _window(**{"from": "2026-02-08T00:00:00 01:00"})[0] == datetime(2026, 2, 7, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"window": "24"}, {"/window"}),
        ({"window": "0h"}, {"/window"}),
        ({"window": "-1h"}, {"/window"}),
        ({"window": "401d"}, {"/window"}),
        ({"window": "9999999h"}, {"/window"}),
        ({"window": "1h", "from": "2026-02-08T00:00:00Z"}, {"/window"}),
        ({"to": "2026-02-08T00:00:00Z"}, {"/from"}),
        ({"from": "yesterday", "to": "2026-02-30T00:00:00Z"}, {"/from", "/to"}),
        ({"from": "2026-02-08"}, {"/from"}),
        ({"from": "2026-02-08T00:00:00"}, {"/from"}),
        ({"from": "0001-01-01T00:00:00+14:00"}, {"/from"}),
        ({"from": "9999-12-31T23:59:59-14:00"}, {"/from"}),
        ({"from": "2026-02-08T00:00:00Z", "to": "2026-02-08T00:00:00Z"}, {"/to"}),
        ({"from": "2024-02-08T00:00:00Z"}, {"/from"}),
        ({"from": "2027-02-08T00:00:00Z"}, {"/from"}),
        ({"fro": "x", "<script>": "y", "window": "x"}, {"/fro", "", "/window"}),
    ],
)
def test_every_mistake_is_named(given: dict[str, str], wrong: set[str]) -> None:
    with pytest.raises(BadParameterError) as caught:
        _window(**given)
    assert {error.pointer for error in caught.value.errors} == wrong
    assert "script" not in str(caught.value)


def test_a_parameter_may_stand_once() -> None:
    with pytest.raises(BadParameterError):
        Query(MultiDict([("window", "1h"), ("window", "2h")]), PARAMETERS).check()


def _page(**given: str) -> Page:
    query = Query(given, ("from", "to", "limit", "cursor", "order", "resolution"))
    return page_of(query, "meter", "METER_1", CONFIG, NOW)


def test_the_default_page_is_the_newest_thousand_of_all_that_is_accepted() -> None:
    page = _page()
    assert (page.limit, page.order, page.resolution) == (1000, "desc", "raw")
    assert page.end == NOW + timedelta(seconds=300)
    assert page.start <= NOW - timedelta(days=400)


def test_buckets_are_whole() -> None:
    page = _page(**{"from": "2026-02-09T10:20:00Z", "to": "2026-02-09T11:00:00.000001Z", "resolution": "1h"})
    assert (page.start, page.end) == (datetime(2026, 2, 9, 10, tzinfo=UTC), datetime(2026, 2, 9, 12, tzinfo=UTC))
    page = _page(**{"from": "2026-02-09T10:00:00Z", "to": "2026-02-09T11:00:00Z", "resolution": "15m"})
    assert (page.start, page.end) == (datetime(2026, 2, 9, 10, tzinfo=UTC), datetime(2026, 2, 9, 11, tzinfo=UTC))
    page = _page(resolution="1d", limit="7")
    assert (page.start, page.end) == (datetime(2026, 2, 3, tzinfo=UTC), datetime(2026, 2, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    "given",
    [
        {"limit": "0"},
        {"limit": "10001"},
        {"limit": "-1"},
        {"limit": "1e3"},
        {"limit": "\u0661"},
        {"order": "up"},
        {"resolution": "2h"},
        {"cursor": ""},
        {"cursor": "AAAA"},
        {"cursor": "ä"},
        {"from": "2026-02-09T12:00:00Z", "to": "2026-02-09T11:00:00Z"},
    ],
)
def test_bad_pages(given: dict[str, str]) -> None:
    with pytest.raises(BadParameterError) as caught:
        _page(**given)
    assert len(caught.value.errors) == 1


def test_a_cursor_belongs_to_its_request_and_to_no_other() -> None:
    page = _page()
    place = datetime(2026, 2, 8, 11, 59, 59, 123456, tzinfo=UTC)
    cursor = make_cursor(place, page)
    assert read_cursor(cursor, page) == place
    assert _page(cursor=cursor).end == place
    for other in ({"order": "asc"}, {"resolution": "1h"}):
        with pytest.raises(BadParameterError):
            _page(cursor=cursor, **other)
    for position, letter in enumerate(cursor):
        changed = cursor[:position] + ("A" if letter != "A" else "B") + cursor[position + 1 :]
        assert read_cursor(changed, page) is None
    assert read_cursor(cursor + "=", page) is None
    assert read_cursor(make_cursor(datetime(1, 1, 1, tzinfo=UTC), page), page) is not None
