"""Every route of the HTTP interface, declared once: who serves it, who may call it, and what it answers."""

from dataclasses import dataclass, field
from typing import Literal

from hseie.access import Scope
from hseie.openapi_schemas import TIME, Schema, reference
from hseie.readings import KINDS, Kind


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query or a header."""

    name: str
    meaning: str
    schema: Schema
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True)
class Route:
    """One method on one path. `answers` is status to the schema of a JSON answer, or to a content type.

    `scope` is what a key must have for it; None: it is open to all, since it shows nothing of devices.
    """

    method: Literal["get", "post"]
    path: str
    served_by: Literal["acceptor", "analytics"]
    tag: str
    summary: str
    answers: dict[int, Schema | str]
    problems: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    scope: Scope | None = field(kw_only=True)

    @property
    def path_parameters(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    @property
    def device_parameter(self) -> str | None:
        """The parameter of the path that names a device; None: the route is about none, or about all."""
        return next((name for name in self.path_parameters if name in _NAME_A_DEVICE), None)


_NAME_A_DEVICE = ("id", "vehicleId")


_WINDOW = Parameter("window", "length up to now: minutes, hours or days, like 90m, 24h, 7d", {"type": "string"})
_FROM = Parameter("from", "start, belongs to the range", TIME)
_TO = Parameter("to", "end, does not belong to the range", TIME)
_PREFER = Parameter(
    "Prefer",
    "RFC 7240: `respond-async` (202 once journaled), `wait` or `wait=10` (201 once in PostgreSQL), or both",
    {"type": "string"},
    "header",
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
    Parameter("cursor", "`next` of the page before, with otherwise the same parameters", {"type": "string"}),
)
_VERBOSE = Parameter(
    "verbose", "list all checks, not only the failed ones", {"type": "boolean", "allowEmptyValue": True}
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
_QUERY_PROBLEMS = ("bad_parameter", "database_unavailable", "overloaded", "analytics_unavailable")


def _kind_routes(kind: Kind) -> tuple[Route, ...]:
    name = kind.name.capitalize()
    reading = reference(f"{name}Reading")
    one = {"oneOf": [reference(f"{name}Accepted"), reference("BatchAccepted")]}
    return (
        Route(
            "post",
            f"/v1/ingest/{kind.name}",
            "acceptor",
            "ingest",
            f"Send one reading of a {kind.name}, or an array of them",
            {201: one, 202: one, 207: reference("BatchAccepted")},
            _INGEST_PROBLEMS,
            (_PREFER,),
            {"oneOf": [reading, {"type": "array", "minItems": 1, "items": reading}]},
            scope="ingest",
        ),
        Route(
            "get",
            f"/v1/ingest/{kind.name}/{{id}}/current",
            "analytics",
            "ingest",
            f"The newest reading of a {kind.name}",
            {200: reference(f"{name}Current")},
            ("unknown_device", *_QUERY_PROBLEMS[1:]),
            scope="read",
        ),
        Route(
            "get",
            f"/v1/analytics/history/{kind.name}/{{id}}",
            "analytics",
            "analytics",
            f"Readings of a {kind.name}, page by page; of rows with one timestamp the latest correction",
            {200: reference(f"{name}Page")},
            ("unknown_device", *_QUERY_PROBLEMS),
            _HISTORY,
            scope="read",
        ),
    )


def _mixed_route() -> Route:
    names = [kind.name.capitalize() for kind in KINDS]
    readings = [reference(f"{name}Reading") for name in names]
    one = {"oneOf": [*(reference(f"{name}Accepted") for name in names), reference("BatchAccepted")]}
    return Route(
        "post",
        "/v1/ingest",
        "acceptor",
        "ingest",
        "Send one reading, or an array of them, of all kinds, told apart by their id fields",
        {201: one, 202: one, 207: reference("BatchAccepted")},
        _INGEST_PROBLEMS,
        (_PREFER,),
        {"oneOf": [*readings, {"type": "array", "minItems": 1, "items": {"oneOf": readings}}]},
        scope="ingest",
    )


ROUTES: tuple[Route, ...] = (
    _mixed_route(),
    *(route for kind in KINDS for route in _kind_routes(kind)),
    Route(
        "get",
        "/v1/ingest/queue/stats",
        "analytics",
        "ingest",
        "Where the readings are: journal, flush, PostgreSQL, dead letters",
        {200: reference("QueueStats")},
        ("database_unavailable", "overloaded", "not_ready", "analytics_unavailable"),
        scope="read",
    ),
    Route(
        "get",
        "/v1/ingest/jobs/{jobId}",
        "analytics",
        "ingest",
        "What became of a receipt",
        {200: reference("Job")},
        (
            "unknown_job",
            "writer_unavailable",
            "database_unavailable",
            "overloaded",
            "not_ready",
            "analytics_unavailable",
        ),
        scope="ingest",
    ),
    Route(
        "get",
        "/v1/analytics/performance/{vehicleId}",
        "analytics",
        "analytics",
        "Energy and efficiency of a vehicle and its meter, over 24 hours or the range asked for",
        {200: reference("Performance")},
        ("unknown_device", *_QUERY_PROBLEMS),
        (_WINDOW, _FROM, _TO),
        scope="read",
    ),
    Route(
        "get",
        "/v1/analytics/stats",
        "analytics",
        "analytics",
        "The fleet",
        {200: reference("Fleet")},
        _QUERY_PROBLEMS,
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
        ("not_ready", "bad_parameter", "analytics_unavailable"),
        (_VERBOSE,),
        scope=None,
    ),
    Route(
        "get",
        "/metrics",
        "analytics",
        "operation",
        "The whole node for Prometheus; as OpenMetrics where Accept asks for it",
        {200: "text/plain"},
        ("analytics_unavailable",),
        scope="read",
    ),
    Route("get", "/api", "analytics", "operation", "This description as a page", {200: "text/html"}, scope=None),
    Route(
        "get", "/api/openapi.json", "analytics", "operation", "This description", {200: {"type": "object"}}, scope=None
    ),
)
