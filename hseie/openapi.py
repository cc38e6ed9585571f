"""The OpenAPI 3.1 description of the HTTP interface, made from the route table and the declarations of readings."""

from typing import Any

import hseie
from hseie.config import Config
from hseie.openapi_schemas import Schema, reference, schemas
from hseie.problems import CONTENT_TYPE, PROBLEMS
from hseie.retry_after import RETRY_AFTER_MAX_S
from hseie.route_table import ROUTES, Route

_RETRY_AFTER: Schema = {
    "description": "seconds to wait before the next attempt",
    "schema": {"type": "integer", "minimum": 1, "maximum": RETRY_AFTER_MAX_S},
}
_NDJSON: Schema = {
    "application/x-ndjson": {
        "schema": {"type": "string", "description": "one reading a line, as JSON; always answered as a batch"}
    }
}

_CHALLENGE: Schema = {"description": "how to show who one is (RFC 6750)", "schema": {"type": "string"}}
_HEADERS = {
    401: {"WWW-Authenticate": _CHALLENGE},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}

_SECURITY_SCHEMES: dict[str, Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key (`hseie keys create`), as RFC 6750 has it",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "the same key, for simple clients",
    },
}


def document(config: Config) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with the limits of `config`."""
    with_keys = config.auth.mode == "keys"
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route, with_keys=with_keys)
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
        "components": {"schemas": schemas(), **({"securitySchemes": _SECURITY_SCHEMES} if with_keys else {})},
    }


def _description(config: Config) -> str:
    past, future = config.ingest.past_max_days, config.ingest.future_max_s
    return (
        "Telemetry of smart meters (AC) and electric vehicles (DC). "
        "An answer of 202 means that the readings are safe in the journal, of 201 that they are in PostgreSQL. "
        "Only 429, 502, 503 and 504 may be retried, after the time in `Retry-After`; every other 4xx is final. "
        f"Timestamps may be up to {future} s ahead and {past} days old; "
        f"a batch holds up to {config.http.batch_readings_max} readings, "
        f"a body up to {config.http.body_bytes_max} bytes after inflating "
        "(`Content-Encoding: gzip` and `deflate` are taken). "
        "Of a member that an object names twice the last one counts."
    )


def _operation(route: Route, *, with_keys: bool) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "responses": {str(status): _answer(status, shape) for status, shape in route.answers.items()},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.path_parameters
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
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": route.body}, **_NDJSON},
        }
    problems = route.problems
    if with_keys:
        operation["security"] = _security(route)
        problems += problems_of_keys(route)
    for status, codes in _by_status(problems).items():
        operation["responses"][str(status)] = {
            "description": " ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
            "content": {CONTENT_TYPE: {"schema": reference("Problem")}},
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
    return operation


def problems_of_keys(route: Route) -> tuple[str, ...]:
    """Return what a route may answer besides, where keys are asked for."""
    if route.scope is None:
        return ()
    of_devices = ("device_not_allowed",) if route.method == "post" or route.device_parameter else ()
    of_quotas = ("device_quota",) if route.method == "post" else ()
    return ("unauthorized", "forbidden", *of_devices, "rate_limited", *of_quotas, "keys_unavailable")


def _security(route: Route) -> list[dict[str, list[str]]]:
    """Either way of sending a key will do; since OpenAPI 3.1 what stands with it are the scopes, here: the one."""
    if route.scope is None:
        return []
    return [{name: [route.scope]} for name in _SECURITY_SCHEMES]


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
