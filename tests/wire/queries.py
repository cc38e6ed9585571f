"""Rows about questions: parameters of the query, cursors, ids and receipts in paths."""

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from hseie.analytics.history import Page, make_cursor
from hseie.readings import KINDS
from tests.wire.row import MARKER, Row

_MOMENT = datetime(2026, 2, 9, 12, tzinfo=UTC)
_PAGE = Page("meter", "A", _MOMENT, _MOMENT, "desc", "raw", 10)
HISTORY = "/v1/analytics/history/meter/A"
PERFORMANCE = "/v1/analytics/performance/A"
ALERTS = "/v1/analytics/alerts"
STATS = "/v1/analytics/stats"


def _asked(name: str, path: str, status: int, code: str = "", *errors: str, answer_has: tuple[str, ...] = ()) -> Row:
    return Row(
        name=name, method="GET", path=path, headers=(), status=status, code=code, errors=errors, answer_has=answer_has
    )


def _history(name: str, query: str, *errors: str) -> Row:
    code = ("bad_parameter", 400) if errors else ("unknown_device", 404)
    return _asked(f"history: {name}", f"{HISTORY}?{query}", code[1], code[0], *errors)


def _performance(name: str, query: str, *errors: str) -> Row:
    code = ("bad_parameter", 400) if errors else ("unknown_device", 404)
    return _asked(f"performance: {name}", f"{PERFORMANCE}?{query}", code[1], code[0], *errors)


def _fleet(name: str, path: str, query: str, *errors: str, answer_has: tuple[str, ...] = ()) -> Row:
    code = ("bad_parameter", 400) if errors else ("", 200)
    name = f"{path.rpartition('/')[2]}: {name}"
    return _asked(name, f"{path}?{query}", code[1], code[0], *errors, answer_has=answer_has)


_CURSOR = make_cursor(_MOMENT, _PAGE)
_CHANGED = ("A" if _CURSOR[0] != "A" else "B") + _CURSOR[1:]

_CURSORS = (
    _history("its own cursor", f"cursor={_CURSOR}"),
    *(
        _history(name, f"cursor={text}", "/cursor bad_value")
        for name, text in {
            "a cursor that was changed": _CHANGED,
            "a cursor that was cut": _CURSOR[:-1],
            "a cursor that was lengthened": _CURSOR + "A",
            "a cursor with its padding": _CURSOR + "==",
            "an empty cursor": "",
            "a cursor that is none": MARKER,
            "a cursor of nothing but dashes": "----",
            "a cursor with a NUL": "%00",
            "a cursor of no UTF-8": "%ff",
            "a long cursor": "A" * 4000,
            "the cursor of another device": make_cursor(_MOMENT, replace(_PAGE, device="B")),
            "the cursor of another kind": make_cursor(_MOMENT, replace(_PAGE, kind="vehicle")),
            "the cursor of another order": make_cursor(_MOMENT, replace(_PAGE, order="asc")),
            "the cursor of another resolution": make_cursor(_MOMENT, replace(_PAGE, resolution="1h")),
        }.items()
    ),
    _history("a cursor twice", f"cursor={_CURSOR}&cursor={_CURSOR}", "/cursor bad_value"),
)

_HISTORY = (
    *(
        _history(f"limit {name}", f"limit={text}", "/limit bad_value")
        for name, text in {
            "0": "0",
            "one too large": "10001",
            "negative": "-1",
            "with a point": "1.5",
            "with a plus": "%2B5",
            "empty": "",
            "a word": MARKER,
            "huge": "9" * 400,
            "in Arabic digits": "%D9%A1%D9%A0",
            "a square": "%C2%B2",
            "with a NUL": "10%00",
            "with an exponent": "1e3",
        }.items()
    ),
    _history("limit as large as it may be", "limit=10000"),
    _history("limit twice", "limit=1&limit=1", "/limit bad_value"),
    *(
        _history(f"resolution {name}", f"resolution={text}", "/resolution bad_value")
        for name, text in {"unknown": "2h", "empty": "", "in capitals": "RAW", "markup": f"%3Cb%3E{MARKER}"}.items()
    ),
    *(
        _history(f"order {name}", f"order={text}", "/order bad_value")
        for name, text in {"unknown": "up", "empty": "", "SQL": "asc%3B%20DROP%20TABLE%20meter_history"}.items()
    ),
    *(
        _history(f"from {name}", f"from={text}", "/from bad_value")
        for name, text in {
            "yesterday": "yesterday",
            "empty": "",
            "a date only": "2026-02-09",
            "without an offset": "2026-02-09T12:00:00",
            "that the calendar has not": "2026-02-30T00:00:00Z",
            "in the year 1": "0001-01-01T00:00:00%2B14:00",
            "in the year 9999": "9999-12-31T23:59:59-14:00",
            "with a NUL": "2026-02-09T12:00:00Z%00",
            "a number": "1770638400",
            "markup": f"%3Cscript%3E{MARKER}",
        }.items()
    ),
    _history("from with a plus that arrives as a blank", "from=2026-02-09T12:00:00+01:00"),
    _history("from after to", "from=2026-02-09T12:00:00Z&to=2026-02-08T12:00:00Z", "/from bad_value"),
    _history("from equal to to", "from=2026-02-09T12:00:00Z&to=2026-02-09T12:00:00Z", "/from bad_value"),
    _history("from in the future", "from=2199-01-01T00:00:00Z", "/from bad_value"),
    _history("to that is wrong", "to=tomorrow", "/to bad_value"),
    _history(
        "everything wrong at once",
        "from=x&to=x&limit=x&order=x&resolution=x&page=2",
        "/page unknown_parameter",
        "/order bad_value",
        "/resolution bad_value",
        "/limit bad_value",
        "/from bad_value",
        "/to bad_value",
    ),
    _history("an unknown parameter", f"color={MARKER}", "/color unknown_parameter"),
    _history("an unknown parameter with an odd name", f"%3Cb%3E{MARKER}=1", " unknown_parameter"),
    _history("a parameter without a name", "=1", " unknown_parameter"),
    _history("a parameter in capitals", "LIMIT=5", "/LIMIT unknown_parameter"),
    _history(
        "a thousand unknown parameters",
        "&".join(f"a{number}=" for number in range(1000)),
        *(f"/a{number} unknown_parameter" for number in range(100)),
    ),
    _history("nothing behind the question mark", ""),
)

_WINDOWS = (
    *(
        _performance(f"window {name}", f"window={text}", "/window bad_value")
        for name, text in {
            "without a unit": "24",
            "0": "0h",
            "negative": "-1h",
            "of weeks": "1w",
            "with a point": "1.5h",
            "empty": "",
            "in capitals": "24H",
            "longer than there are readings": "36501d",
            "huge": "999999999999d",
            "with a NUL": "1h%00",
            "with a newline": "1h%0a",
            "in Arabic digits": "%D9%A1h",
        }.items()
    ),
    _performance("window as long as readings may be old", "window=400d"),
    _performance("window longer than readings may be old", "window=401d", "/window bad_value"),
    _performance("window twice", "window=1h&window=2h", "/window bad_value"),
    _performance("window and from", "window=1h&from=2026-02-09T12:00:00Z", "/window bad_value"),
    _performance("to without from", "to=2026-02-09T12:00:00Z", "/from bad_value"),
    _performance("from after to", "from=@-60@&to=@-120@", "/to bad_value"),
    _performance("a parameter of another route", "limit=1", "/limit unknown_parameter"),
)

_FORMATS = tuple(
    row
    for name, text in {
        "that is none": "xml",
        "in capitals": "CSV",
        "empty": "",
        "as a media type": "text/csv",
        "with a NUL": "csv%00",
        "of mark-up": f"%3Cb%3E{MARKER}",
    }.items()
    for row in (
        _history(f"format {name}", f"format={text}", "/format bad_value"),
        _performance(f"format {name}", f"format={text}", "/format bad_value"),
        _fleet(f"format {name}", ALERTS, f"format={text}", "/format bad_value"),
    )
)

_FLEET = (
    *(
        _fleet(f"limit {name}", ALERTS, f"limit={text}", "/limit bad_value")
        for name, text in {"0": "0", "one too large": "1001", "negative": "-1", "empty": "", "a word": MARKER}.items()
    ),
    *(
        _fleet(f"threshold {name}", ALERTS, f"threshold={text}", "/threshold bad_value")
        for name, text in {
            "negative": "-1",
            "too large": "1000.1",
            "empty": "",
            "a word": MARKER,
            "no number": "nan",
            "endless": "inf",
            "with an exponent that leads too far": "8e1000",
            "with half an exponent": "8e",
            "with a plus": "%2B85",
            "with a percent sign": "85%25",
            "with a comma": "84,5",
            "without digits in front": ".5",
            "without digits behind": "85.",
            "in Arabic digits": "%D9%A8%D9%A5",
            "huge": "9" * 400,
            "precise beyond reason": "85." + "0" * 400 + "1",
            "with a NUL": "85%00",
        }.items()
    ),
    *(
        _fleet(f"of {name}", ALERTS, f"of={text}", "/of bad_value")
        for name, text in {"nothing": "", "something else": "devices", "both": "pairs,silent"}.items()
    ),
    *(
        _fleet(f"window {name}", path, f"window={text}", "/window bad_value")
        for path in (ALERTS, STATS)
        for name, text in {
            "without a unit": "24",
            "0": "0h",
            "of weeks": "1w",
            "empty": "",
            "longer than readings may be old": "401d",
            "huge": "999999999999d",
        }.items()
    ),
    _fleet("window shorter than an hour", STATS, "window=59m", "/window bad_value"),
    _fleet("window twice", STATS, "window=1h&window=1h", "/window bad_value"),
    _fleet("a parameter of another route", STATS, "from=@-60@", "/from unknown_parameter"),
    _fleet("window and from", ALERTS, "window=1h&from=@-60@", "/window bad_value"),
    _fleet("to without from", ALERTS, "to=@-60@", "/from bad_value"),
    _fleet("from after to", ALERTS, "from=@-60@&to=@-120@", "/to bad_value"),
    _fleet("a parameter of another route", ALERTS, "resolution=1h", "/resolution unknown_parameter"),
    _fleet(
        "everything wrong at once",
        ALERTS,
        "window=x&limit=x&threshold=x&format=x&of=x&page=2",
        "/page unknown_parameter",
        "/format bad_value",
        "/limit bad_value",
        "/threshold bad_value",
        "/of bad_value",
        "/window bad_value",
    ),
    _fleet("everything right at once", ALERTS, "window=400d&limit=1000&threshold=1000&format=json&of=silent"),
    _fleet("the least of everything", ALERTS, "from=@-60@&to=@0@&limit=1&threshold=0.0"),
    _fleet("threshold as a program writes it", ALERTS, "threshold=8.449051831061396e%2B1"),
    _fleet("window of an hour", STATS, "window=60m"),
    _fleet("window as long as readings may be old", STATS, "window=400d"),
    _fleet(
        "as CSV",
        ALERTS,
        "format=csv&of=silent",
        answer_has=(
            "Content-Type: text/csv; charset=utf-8",
            'Content-Disposition: attachment; filename="alerts_silent.csv"',
            "Cache-Control: private, no-cache",
            "kind,deviceId,lastReading,cadence,silentFor\r\n",
        ),
    ),
)

_OTHERS = (
    *(
        _asked(f"audit: days {name}", f"/v1/audit?days={text}", 400, "bad_parameter", "/days bad_value")
        for name, text in {"0": "0", "too many": "36501", "none": "", "a word": "ALL", "negative": "-1"}.items()
    ),
    _asked("audit: an unknown parameter", "/v1/audit?kind=meter", 400, "bad_parameter", "/kind unknown_parameter"),
    _asked("readyz: verbose that is neither", f"/readyz?verbose={MARKER}", 400, "bad_parameter", "/verbose bad_value"),
    _asked("readyz: verbose, bare", "/readyz?verbose", 200),
    _asked("health: parameters do not matter", f"/health?{MARKER}=1", 200),
    *(
        _asked(f"job: {name}", f"/v1/ingest/jobs/{text}", 404, "unknown_job")
        for name, text in {
            "a word": MARKER,
            "no number": "0-",
            "a negative number": "0--1",
            "number 0": "0-0",
            "leading zeros": "0-01",
            "a shard that is not there": "999-1",
            "a number of 18 digits": "0-999999999999999999",
            "a number of 19 digits": "0-9223372036854775808",
            "a NUL": "0-1%00",
            "Arabic digits": "0-%D9%A1",
            "SQL": "0-1%20OR%201=1",
        }.items()
    ),
)

_OF_NO_ROUTE = ("a brace",)  # routes do not take it into an id
_IDS = tuple(
    _asked(f"id in {where}: {name}", path.format(text), 404, "not_found" if name in _OF_NO_ROUTE else "unknown_device")
    for where, path in {
        **{f"current {kind.name}": f"/v1/ingest/{kind.name}/{{}}/current" for kind in KINDS},
        **{f"history of {kind.name}": f"/v1/analytics/history/{kind.name}/{{}}" for kind in KINDS},
        "performance": "/v1/analytics/performance/{}",
    }.items()
    for name, text in {
        "unknown": "NOBODY",
        "too long": "x" * 51,
        "very long": MARKER * 500,
        "NUL": "%00",
        "TAB": "A%09B",
        "a newline": "A%0A",
        "a brace": "A%7B",
        "a backslash": "%5C.",
        "a quote": "'%20OR%20'1'='1",
        "a percent sign": "%25",
        "a question mark": "A%3FB",
        "a hash": "A%23B",
        "a blank": "A%20B",
        "an encoded slash": "A%2FB",
        "no UTF-8": "%ff",
        "half a surrogate pair": "%ed%a0%80",
        "an emoji": quote("😀"),
        "a full-width digit": quote("METER_\uff11"),
        "markup": quote(f"<b>{MARKER}</b>", safe=""),
        "two dots, encoded": "%2e%2e",
        "a dot, encoded": "%2e",
        "one of our own letters, encoded": "%4eOBODY",
    }.items()
)

ROWS = (*_HISTORY, *_CURSORS, *_WINDOWS, *_FORMATS, *_FLEET, *_OTHERS, *_IDS)
