"""Every route of the HTTP interface, declared once, and the OpenAPI 3.1 description made from it."""

from dataclasses import dataclass
from typing import Any, Literal

import hseie
from hseie.config import Config
from hseie.openapi_schemas import TIME, Schema, reference, schemas
from hseie.problems import CONTENT_TYPE, PROBLEMS
from hseie.readings import KINDS, Kind
from hseie.retry_after import RETRY_AFTER_MAX_S


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query or a header."""

    name: str
    meaning: str
    schema: Schema
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True)
class Route:
    """One method on one path. `answers` is status to the schema of a JSON answer, or to a content type."""

    method: Literal["get", "post"]
    path: str
    served_by: Literal["acceptor", "analytics"]
    tag: str
    summary: str
    answers: dict[int, Schema | str]
    problems: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None


_WINDOW = Parameter("window", "length up to now: minutes, hours or days, like 90m, 24h, 7d", {"type": "string"})
_FROM = Parameter("from", "start, belongs to the range", TIME)
_TO = Parameter("to", "end, does not belong to the range", TIME)
_PREFER = Parameter(
    "Prefer",
    "RFC 7240: `respond-async` (202 once journaled) or `wait`, `wait=10` (201 once in PostgreSQL)",
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
_RETRY_AFTER: Schema = {
    "description": "seconds to wait before the next attempt",
    "schema": {"type": "integer", "minimum": 1, "maximum": RETRY_AFTER_MAX_S},
}
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
        ),
        Route(
            "get",
            f"/v1/ingest/{kind.name}/{{id}}/current",
            "analytics",
            "ingest",
            f"The newest reading of a {kind.name}",
            {200: reference(f"{name}Current")},
            ("unknown_device", *_QUERY_PROBLEMS[1:]),
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
        ),
    )


ROUTES: tuple[Route, ...] = (
    *(route for kind in KINDS for route in _kind_routes(kind)),
    Route(
        "get",
        "/v1/ingest/queue/stats",
        "analytics",
        "ingest",
        "Where the readings are: journal, flush, PostgreSQL, dead letters",
        {200: reference("QueueStats")},
        ("database_unavailable", "overloaded", "not_ready", "analytics_unavailable"),
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
    ),
    Route(
        "get", "/v1/analytics/stats", "analytics", "analytics", "The fleet", {200: reference("Fleet")}, _QUERY_PROBLEMS
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
    ),
    Route("get", "/health", "analytics", "operation", "How the node is, always with 200", {200: reference("Health")}),
    Route("get", "/livez", "analytics", "operation", "Whether the process serves", {200: "text/plain"}),
    Route(
        "get",
        "/readyz",
        "analytics",
        "operation",
        "Whether the node is fit: PostgreSQL, all shards, an acceptor, room in the journals",
        {200: reference("Readiness")},
        ("not_ready", "bad_parameter", "analytics_unavailable"),
        (_VERBOSE,),
    ),
    Route(
        "get",
        "/metrics",
        "analytics",
        "operation",
        "The whole node for Prometheus; as OpenMetrics where Accept asks for it",
        {200: "text/plain"},
        ("analytics_unavailable",),
    ),
    Route("get", "/api", "analytics", "operation", "This description as a page", {200: "text/html"}),
    Route("get", "/api/openapi.json", "analytics", "operation", "This description", {200: {"type": "object"}}),
)


def document(config: Config) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with the limits of `config`."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HSEIE: High-Scale Energy Ingestion Engine",
            "version": hseie.__version__,
            "description": _description(config),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [
            {"name": "ingest", "description": "readings in, and what became of them"},
            {"name": "analytics", "description": "what the readings say"},
            {"name": "operation", "description": "how the node is"},
        ],
        "paths": paths,
        "components": {"schemas": schemas()},
    }


def _description(config: Config) -> str:
    past, future = config.ingest.past_max_days, config.ingest.future_max_s
    return (
        "Telemetry of smart meters (AC) and electric vehicles (DC). "
        "An answer of 202 means that the readings are safe in the journal, of 201 that they are in PostgreSQL. "
        "Only 429, 502, 503 and 504 may be retried, after the time in `Retry-After`; every other 4xx is final. "
        f"Timestamps may be up to {future} s ahead and {past} days old; "
        f"a batch holds up to {config.http.batch_readings_max} readings, "
        f"a body up to {config.http.body_bytes_max} bytes after inflating (`Content-Encoding: gzip` is taken)."
    )


def _operation(route: Route) -> Schema:
    path_parameters = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    operation: Schema = {
        "operationId": _operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "responses": {str(status): _answer(status, shape) for status, shape in route.answers.items()},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in path_parameters
    ]
    for parameter in route.parameters:
        schema = dict(parameter.schema)
        extra = {"allowEmptyValue": True} if schema.pop("allowEmptyValue", False) else {}
        parameters.append(
            {"name": parameter.name, "in": parameter.place, "description": parameter.meaning, "schema": schema, **extra}
        )
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    for status, codes in _by_status(route.problems).items():
        operation["responses"][str(status)] = {
            "description": " ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
            "content": {CONTENT_TYPE: {"schema": reference("Problem")}},
            **({"headers": {"Retry-After": _RETRY_AFTER}} if status == 503 else {}),
        }
    return operation


def _operation_id(route: Route) -> str:
    words = [word.strip("{}") for word in route.path.removeprefix("/v1").replace(".", "/").split("/") if word]
    return "_".join([route.method, *words])


def _answer(status: int, shape: Schema | str) -> Schema:
    said = {200: "OK", 201: "Committed in PostgreSQL", 202: "Safe in the journal", 207: "Some readings were refused"}
    if isinstance(shape, str):
        return {"description": said[status], "content": {shape: {"schema": {"type": "string"}}}}
    return {"description": said[status], "content": {"application/json": {"schema": shape}}}


def _by_status(codes: tuple[str, ...]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for code in codes:
        found.setdefault(PROBLEMS[code].status, []).append(code)
    return dict(sorted(found.items()))
