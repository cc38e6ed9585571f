"""The OpenAPI 3.1 description of the HTTP interface, made from the route table and the declarations of readings.

It is the same at every start: it has the limits of the configuration in it, and no moment. `make docs` makes that of
the default configuration: docs/openapi.json, for reviewers and client generators.
"""

import json
import sys
from typing import Any

import hseie
from hseie.answers import JOB_ID_PATTERN
from hseie.config import Config
from hseie.openapi_answers import answer, links, problem_answers
from hseie.openapi_keys import SECURITY_SCHEMES, problems_of_access, security
from hseie.openapi_schemas import EXAMPLE_JOB, Schema, device_id, example_reading, reference, schemas
from hseie.readings import KINDS, METER
from hseie.route import Route, operation_id
from hseie.route_table import ROUTES

_EXAMPLES: dict[str, Schema] = {"PairRequest": {"from now on": {"value": {METER.id_wire: METER.example_id}}}}


def document(config: Config) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with the limits of `config`."""
    with_keys = config.auth.mode == "keys"
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route, config)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HSEIE: High-Scale Energy Ingestion Engine",
            "version": hseie.__version__,
            "summary": "Telemetry of smart meters and electric vehicles, stored exactly once",
            "description": _description(config),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "the node that this description comes from"}],
        "tags": [
            {"name": "ingest", "description": "readings in, and what became of them"},
            {"name": "analytics", "description": "what the readings say"},
            {"name": "pairs", "description": "which meter feeds which vehicle"},
            {"name": "operation", "description": "how the node is"},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas(config.http.batch_readings_max),
            **({"securitySchemes": SECURITY_SCHEMES} if with_keys else {}),
        },
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
        "Of a member that an object names twice the last one counts. "
        "A method that a path does not have is answered with 405 and `Allow`, a path that there is not with 404; "
        "where there is GET, there is HEAD. "
        "Answers and lists of codes may grow: ignore members that you do not know, and treat a code that you do not "
        "know by its status."
    )


def _operation(route: Route, config: Config) -> Schema:
    operation: Schema = {
        "operationId": operation_id(route.method, route.path),
        "tags": [route.tag],
        "summary": route.summary,
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _request_body(route, route.body)
    if route.document is not None:
        content = {"application/json": {"schema": reference(route.document), "examples": _EXAMPLES[route.document]}}
        operation["requestBody"] = {"required": True, "description": "JSON in UTF-8, as it is.", "content": content}
    responses = {str(status): answer(route, status) for status in route.answers}
    for status, found in links(route).items():
        responses[str(status)]["links"] = found
    if config.auth.mode == "keys":
        operation["security"] = security(route)
    operation["responses"] = responses | problem_answers(route, problems_of_access(route, config))
    return operation


def _parameters(route: Route) -> list[Schema]:
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, **_path_parameter(route, name)} for name in route.path_parameters
    ]
    for parameter in route.parameters:
        described = {
            "name": parameter.name,
            "in": parameter.place,
            "required": False,
            "description": parameter.meaning,
            "schema": parameter.schema,
        }
        if parameter.may_be_empty:
            described["allowEmptyValue"] = True
        parameters.append(described)
    return parameters


def _path_parameter(route: Route, name: str) -> Schema:
    if name == "jobId":
        schema: Schema = {"type": "string", "pattern": f"^{JOB_ID_PATTERN}$", "examples": [EXAMPLE_JOB]}
        return {"description": "`jobId` of the answer to a POST, or one of its `jobIds`", "schema": schema}
    kind = next((kind for kind in KINDS if name == kind.id_wire or f"/{kind.name}/" in route.path), None)
    if kind is None:
        raise ValueError(f"nothing describes the parameter {name} of {route.path}")
    schema = device_id(kind)
    return {"description": schema.pop("description"), "schema": schema}


def _request_body(route: Route, reading: str) -> Schema:
    kinds = [kind for kind in KINDS if reading in (f"{kind.name.capitalize()}Reading", "Reading")]
    singles = [example_reading(kind) for kind in kinds]
    examples = {
        **{f"one {kind.name}": {"value": single} for kind, single in zip(kinds, singles, strict=True)},
        "batch": {"value": singles},
    }
    return {
        "required": True,
        "description": (
            "JSON: one reading, or an array of them. NDJSON: one reading a line, always answered as a batch. In UTF-8, "
            "as it is or packed (`Content-Encoding: gzip` or `deflate`)."
        ),
        "content": {
            "application/json": {
                "schema": {"oneOf": [reference(reading), reference(f"{reading}s")]},
                "examples": examples,
            },
            # As OpenAPI 3.2 has it: the schema is that of all lines as one array.
            "application/x-ndjson": {"schema": reference(f"{reading}s"), "examples": {"batch": {"value": singles}}},
        },
    }


def text(config: Config) -> str:
    """Return docs/openapi.json."""
    return json.dumps(document(config), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text(Config()))
