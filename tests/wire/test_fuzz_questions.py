"""The reading of questions, fed with whatever hypothesis makes up: no error but the one that is answered, and no page
or window outside its bounds."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from multidict import MultiDict

from hseie.analytics import history, performance
from hseie.analytics.history import Page, make_cursor, page_of, read_cursor
from hseie.analytics.performance import window_of
from hseie.analytics.query import BadParameterError, Query
from hseie.config import Config
from hseie.problems import ErrorItem
from hseie.readings import KINDS
from tests.wire.generated import fuzz, inputs_of
from tests.wire.questions import NAMES, Values, cursors, parameters

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONFIG = Config()
DEVICES = ("A", "B")
PAGE = Page("meter", "A", NOW - timedelta(days=1), NOW, "desc", "raw", 10)
CODES = {"unknown_parameter", "bad_value"}


def check_errors(errors: list[ErrorItem]) -> None:
    assert errors
    assert {error.code for error in errors} <= CODES
    assert all(error.detail.isascii() and error.pointer.isascii() for error in errors)


@pytest.mark.timeout(1800)
def test_a_query_is_a_page_or_a_window_or_every_mistake_in_it(seed: int) -> None:
    outcomes: Counter[str] = Counter()

    def any_query(pairs: list[tuple[str, str]]) -> None:
        given = MultiDict(pairs)
        try:
            page = page_of(Query(given, history.PARAMETERS), "meter", "A", CONFIG, NOW)
            assert 1 <= page.limit <= history.LIMIT_MAX
            assert page.start.tzinfo is UTC
            assert page.end.tzinfo is UTC
            outcomes["pages"] += 1
        except BadParameterError as error:
            check_errors(error.errors)
            outcomes["no pages"] += 1
        try:
            window, period = window_of(Query(given, performance.PARAMETERS), CONFIG, NOW)
            assert timedelta(0) < window.end - window.start <= timedelta(days=CONFIG.ingest.past_max_days)
            assert period.isascii()
            outcomes["windows"] += 1
        except BadParameterError as error:
            check_errors(error.errors)
            outcomes["no windows"] += 1

    values = Values(DEVICES, NOW)
    names = st.sampled_from((NAMES, history.PARAMETERS, performance.PARAMETERS))
    fuzz(any_query, inputs_of(0.07, 500), seed, pairs=names.flatmap(lambda some: parameters(values, some)))
    print(dict(outcomes))
    assert len(outcomes) == 4


@pytest.mark.timeout(1800)
def test_a_cursor_leads_where_it_was_made_for_or_nowhere(seed: int) -> None:
    """Whatever is taken as a cursor of a page is the very text that was given for it."""
    outcomes: Counter[bool] = Counter()

    def any_cursor(text: str, kind: str, device: str, order: str, resolution: str) -> None:
        page = Page(kind, device, PAGE.start, PAGE.end, order, resolution, 10)
        place = read_cursor(text, page)
        outcomes[place is not None] += 1
        if place is not None:
            assert make_cursor(place, page) == text

    fuzz(
        any_cursor,
        inputs_of(0.03, 300),
        seed,
        text=cursors(DEVICES, NOW) | st.text(max_size=20),
        kind=st.sampled_from([kind.name for kind in KINDS]),
        device=st.sampled_from(DEVICES),
        order=st.sampled_from(history.ORDERS),
        resolution=st.sampled_from(tuple(history.RESOLUTIONS)),
    )
    print(dict(outcomes))
    assert outcomes[False] > 0
