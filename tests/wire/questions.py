"""What hypothesis makes up to ask: ids, parameters that are right or nearly right, cursors of this page or another."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from hseie.analytics.history import ORDERS, RESOLUTIONS, Page, make_cursor
from hseie.readings import KINDS
from tests.wire.generated import good_ids, good_times, mutated, texts

NAMES = (
    "from",
    "to",
    "limit",
    "cursor",
    "order",
    "resolution",
    "format",
    "window",
    "threshold",
    "of",
    "days",
    "verbose",
)
_PATHS = (
    *(f"/v1/ingest/{kind.name}/{{}}/current" for kind in KINDS),
    *(f"/v1/analytics/history/{kind.name}/{{}}" for kind in KINDS for _ in range(4)),
    *("/v1/analytics/performance/{}",) * 4,
    "/v1/ingest/jobs/{}",
    "/v1/analytics/stats",
    *("/v1/analytics/alerts",) * 4,
    "/v1/audit",
    "/readyz",
    "/health",
)
_LIMITS = ("1", "2", "10", "1000", "10000", "0", "-1", "10001", "1e3", "1.0", " 5", "\u0661", "9" * 30)
_WINDOWS = ("1m", "90m", "24h", "7d", "400d", "401d", "0h", "24", "1w", "999999d", "1H", "36500d")
_CURSOR_TEXT = "ABCZabcz019-_=+/"


@st.composite
def cursors(draw: st.DrawFn, devices: Sequence[str], now: datetime) -> str:
    """A cursor of some request, perhaps changed, or something that looks like one."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.text(alphabet=_CURSOR_TEXT, max_size=20))
    moment = now - timedelta(microseconds=draw(st.integers(-(2**40), 2**40)))
    page = Page(
        draw(st.sampled_from(KINDS)).name,
        draw(st.sampled_from(devices)),
        now,
        now,
        draw(st.sampled_from(ORDERS)),
        draw(st.sampled_from(tuple(RESOLUTIONS))),
        1,
    )
    text = make_cursor(moment, page)
    return draw(mutated(st.just(text))) if draw(st.integers(0, 2)) == 0 else text


class Values:
    """Values of the parameters, right and wrong."""

    def __init__(self, devices: Sequence[str], now: datetime) -> None:
        moments = good_times(now)
        odd = texts | st.sampled_from(("", "\0", "x"))
        usual: dict[str, st.SearchStrategy[str]] = {
            "from": moments,
            "to": moments,
            "limit": st.sampled_from(_LIMITS),
            "cursor": cursors(devices, now),
            "order": st.sampled_from((*ORDERS, "up")),
            "resolution": st.sampled_from((*RESOLUTIONS, "2h")),
            "window": st.sampled_from(_WINDOWS),
            "format": st.sampled_from(("json", "csv", "xml")),
            "threshold": st.sampled_from(("85", "0", "1000", "99.5", "-1", "1e2", "nan", "9" * 30)),
            "of": st.sampled_from(("pairs", "silent", "all")),
            "days": st.sampled_from(("1", "2", "all", "0", "36501")),
            "verbose": st.sampled_from(("", "true", "0", "maybe")),
        }
        self.of = {name: st.integers(0, 7).flatmap(_choose(values, odd)) for name, values in usual.items()}


def _choose(usual: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> Any:
    return lambda drawn: odd | mutated(usual) if drawn == 0 else usual


@st.composite
def parameters(draw: st.DrawFn, values: Values, names: Sequence[str] = NAMES) -> list[tuple[str, str]]:
    """Names and values of a query."""
    pairs = []
    for name in draw(st.lists(st.sampled_from(names), max_size=4)):
        value = draw(values.of[name])
        pairs.append((draw(texts) if draw(st.integers(0, 30)) == 0 else name, value))
    return pairs


@st.composite
def questions(draw: st.DrawFn, devices: Sequence[str], values: Values) -> str:
    """The target of a GET request: path and query, percent-encoded, or here and there not."""
    path = draw(st.sampled_from(_PATHS))
    device = draw(st.sampled_from(devices)) if draw(st.integers(0, 3)) else draw(good_ids | texts)
    path = path.format(quote(device, safe="", errors="surrogatepass"))
    names = NAMES
    if "history" in path:
        names = NAMES[:7]
    elif "performance" in path:
        names = ("from", "to", "window", "format")
    elif "alerts" in path:
        names = ("from", "to", "window", "limit", "threshold", "format", "of")
    pairs = draw(parameters(values, names if draw(st.integers(0, 9)) else NAMES))
    encoded = [f"{quote(name, errors='surrogatepass')}={quote(value, errors='surrogatepass')}" for name, value in pairs]
    query = "&".join(encoded)
    if draw(st.integers(0, 19)) == 0:
        query += draw(st.text(alphabet="&=%0aZ+;?/", max_size=8))
    return f"{path}?{query}" if query else path
