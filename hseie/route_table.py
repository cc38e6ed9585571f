"""Every route of the HTTP interface, declared once: who serves it, who may call it, and what it answers."""

from hseie.openapi_schemas import EXAMPLE_TIME, TIME, reference
from hseie.pair_routes import PAIR_ROUTES
from hseie.readings import KINDS, Kind
from hseie.route import Parameter, Route
from hseie.route_parameters import ALERTS, FORMAT, WINDOW_OF_FLEET

_WINDOW = Parameter(
    "window",
    "length up to now, without `from` and `to`: minutes, hours or days, like 90m, 24h, 7d; no longer than readings may "
    "be old; 24h where nothing else is asked for",
    {"type": "string", "pattern": "^[1-9][0-9]{0,5}[mhd]$", "examples": ["24h"]},
)
_FROM = Parameter(
    "from",
    "start, belongs to the range, lies before `to`; RFC 3339 with an offset, in the years 1970 to 2199",
    {**TIME, "examples": [EXAMPLE_TIME]},
)
_TO = Parameter(
    "to", "end, does not belong to the range; RFC 3339 with an offset, in the years 1970 to 2199; without it: now", TIME
)
# Without an example, or those of the description would be refused together.
_FROM_OF_WINDOW = Parameter("from", f"{_FROM.meaning}. Goes without `window`", TIME)
_TO_OF_WINDOW = Parameter("to", f"{_TO.meaning}. Goes with `from` only", TIME)
_PREFER = Parameter(
    "Prefer",
    "RFC 7240: `respond-async` (202 once journaled), `wait` or `wait=10` (201 once in PostgreSQL), or both",
    {"type": "string", "examples": ["respond-async", "wait=10"]},
    "header",
)
_IF_NONE_MATCH = Parameter(
    "If-None-Match", "`ETag` of what is known: 304 where it is still the same", {"type": "string"}, "header"
)
_HISTORY = (
    _FROM,
    _TO,
    Parameter(
        "resolution",
        "readings as they came, or buckets: sums of energies; average, least and most of the rest",
        {"type": "string", "enum": ["raw", "1m", "15m", "1h", "1d"], "default": "raw"},
    ),
    Parameter("order", "by time", {"type": "string", "enum": ["desc", "asc"], "default": "desc"}),
    Parameter("limit", "most entries of a page", {"type": "integer", "minimum": 1, "maximum": 10000, "default": 1000}),
    Parameter(
        "cursor",
        "`next` of the page before, opaque, with otherwise the same parameters",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]{16}$"},
    ),
    FORMAT,
)
_VERBOSE = Parameter(
    "verbose",
    "list all checks, not only the failed ones; bare, it is true",
    {"type": "string", "enum": ["true", "false", "1", "0", ""], "default": "false"},
    may_be_empty=True,
)
_DAYS = Parameter(
    "days",
    "read the last so many UTC days of history, or `all`",
    {"oneOf": [{"type": "integer", "minimum": 1, "maximum": 36500}, {"const": "all"}], "default": 2},
)
_INGEST_PROBLEMS = (
    "bad_json",
    "not_an_object",
    "empty_batch",
    "invalid_reading",
    "all_rejected",
    "bad_encoding",
    "request_timeout",
    "too_large",
    "batch_too_large",
    "unsupported_media_type",
    "overloaded",
    "writer_unavailable",
    "journal_full",
    "disk_full",
    "draining",
    "ack_timeout",
)
_QUERY_PROBLEMS = ("bad_parameter", "database_unavailable", "overloaded")
_CONFIRMED = tuple((status, "Preference-Applied") for status in (201, 202, 207))
_TAGGED = ((200, "ETag"), (304, "ETag"), (200, "Cache-Control"))
_TABLE = (*_TAGGED, (200, "Vary"), (200, "Content-Disposition"))


def _ingest_route(path: str, summary: str, prefix: str, kinds: tuple[Kind, ...]) -> Route:
    batch = reference("BatchAccepted")
    taken = {"oneOf": [*(reference(f"{kind.name.capitalize()}Accepted") for kind in kinds), batch]}
    return Route(
        "post",
        path,
        "acceptor",
        "ingest",
        summary,
        {201: taken, 202: taken, 207: batch},
        _INGEST_PROBLEMS,
        (_PREFER,),
        f"{prefix}Reading",
        _CONFIRMED,
        scope="ingest",
    )


def _kind_routes(kind: Kind) -> tuple[Route, ...]:
    name = kind.name.capitalize()
    return (
        _ingest_route(f"/v1/ingest/{kind.name}", f"Send readings of a {kind.name}: one, or a batch", name, (kind,)),
        Route(
            "get",
            f"/v1/ingest/{kind.name}/{{id}}/current",
            "analytics",
            "ingest",
            f"The newest reading of a {kind.name}",
            {200: reference(f"{name}Current")},
            ("unknown_device", *_QUERY_PROBLEMS),
            scope="read",
        ),
        Route(
            "get",
            f"/v1/analytics/history/{kind.name}/{{id}}",
            "analytics",
            "analytics",
            f"Readings of a {kind.name}, page by page; of rows with one timestamp the latest correction",
            {200: reference(f"{name}Page"), 304: None},
            ("unknown_device", "archive_unavailable", *_QUERY_PROBLEMS),
            (*_HISTORY, _IF_NONE_MATCH),
            headers=((200, "Link"), *_TABLE),
            scope="read",
            csv=True,
        ),
    )


ROUTES: tuple[Route, ...] = (
    _ingest_route("/v1/ingest", "Send readings of all kinds, told by their id fields: one, or a batch", "", KINDS),
    *(route for kind in KINDS for route in _kind_routes(kind)),
    Route(
        "get",
        "/v1/ingest/queue/stats",
        "analytics",
        "ingest",
        "Where the readings are: journal, flush, PostgreSQL, dead letters",
        {200: reference("QueueStats")},
        (*_QUERY_PROBLEMS, "not_ready"),
        scope="read",
    ),
    Route(
        "get",
        "/v1/ingest/jobs/{jobId}",
        "analytics",
        "ingest",
        "What became of a receipt",
        {200: reference("Job")},
        ("unknown_job", "writer_unavailable", *_QUERY_PROBLEMS, "not_ready"),
        scope="ingest",
    ),
    Route(
        "get",
        "/v1/analytics/performance/{vehicleId}",
        "analytics",
        "analytics",
        "Energy and efficiency of a vehicle and its meter, over 24 hours or the range asked for",
        {200: reference("Performance"), 304: None},
        ("unknown_device", *_QUERY_PROBLEMS),
        (_WINDOW, _FROM_OF_WINDOW, _TO_OF_WINDOW, FORMAT, _IF_NONE_MATCH),
        headers=_TABLE,
        scope="read",
        csv=True,
    ),
    Route(
        "get",
        "/v1/analytics/alerts",
        "analytics",
        "analytics",
        "Pairs that lose too much in the last 24 closed hours or those asked for, the worst first; silent devices",
        {200: reference("Alerts"), 304: None},
        _QUERY_PROBLEMS,
        (_WINDOW, _FROM_OF_WINDOW, _TO_OF_WINDOW, *ALERTS, _IF_NONE_MATCH),
        headers=_TABLE,
        scope="read",
        csv=True,
    ),
    Route(
        "get",
        "/v1/analytics/stats",
        "analytics",
        "analytics",
        "The fleet; its energies of the last 15 minutes, or of the latest closed hours asked for",
        {200: reference("Fleet"), 304: None},
        _QUERY_PROBLEMS,
        (WINDOW_OF_FLEET, _IF_NONE_MATCH),
        headers=_TAGGED,
        scope="read",
    ),
    *PAIR_ROUTES,
    Route(
        "get",
        "/v1/live",
        "analytics",
        "analytics",
        "The node and the fleet as they are, every two seconds: server-sent events, first one `past`, then `now`",
        {200: "text/event-stream"},
        ("overloaded",),
        events=("Past", "Now"),
        scope="read",
    ),
    Route(
        "get",
        "/v1/audit",
        "analytics",
        "operation",
        "The books: whether all that was acknowledged is where it should be; one audit at a time",
        {200: reference("Audit")},
        _QUERY_PROBLEMS,
        (_DAYS,),
        scope="admin",
    ),
    Route(
        "get",
        "/health",
        "analytics",
        "operation",
        "How the node is, always with 200",
        {200: reference("Health")},
        scope=None,
    ),
    Route("get", "/livez", "analytics", "operation", "Whether the process serves", {200: "text/plain"}, scope=None),
    Route(
        "get",
        "/readyz",
        "analytics",
        "operation",
        "Whether the node is fit: PostgreSQL, all shards, an acceptor, room in the journals",
        {200: reference("Readiness")},
        ("not_ready", "bad_parameter"),
        (_VERBOSE,),
        scope=None,
    ),
    Route(
        "get",
        "/metrics",
        "analytics",
        "operation",
        "The whole node for Prometheus; as OpenMetrics where Accept asks for it",
        {200: ("text/plain", "application/openmetrics-text")},
        scope="read",
    ),
    Route(
        "get",
        "/",
        "analytics",
        "operation",
        "The dashboard, a page",
        {200: "text/html", 304: None},
        parameters=(_IF_NONE_MATCH,),
        headers=_TAGGED,
        scope=None,
    ),
    Route(
        "get",
        "/api",
        "analytics",
        "operation",
        "This description as a page",
        {200: "text/html", 304: None},
        parameters=(_IF_NONE_MATCH,),
        headers=_TAGGED,
        scope=None,
    ),
    Route(
        "get",
        "/api/openapi.json",
        "analytics",
        "operation",
        "This description",
        {200: {"type": "object"}, 304: None},
        parameters=(_IF_NONE_MATCH,),
        headers=_TAGGED,
        scope=None,
    ),
)
