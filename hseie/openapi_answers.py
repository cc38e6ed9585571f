"""What a route may answer, for the OpenAPI description: bodies, headers, problems, links to what may be asked next."""

from typing import Any

from hseie.csv_text import CSV
from hseie.openapi_schemas import Schema, reference
from hseie.problems import CONTENT_TYPE, PROBLEMS
from hseie.readings import KINDS
from hseie.retry_after import RETRY_AFTER_MAX_S
from hseie.route import Route, operation_id

_TEXT: Schema = {"type": "string"}
_CSV: Schema = {"type": "string", "description": "RFC 4180, UTF-8, a header line; times are RFC 3339"}
_SAID = {
    200: "OK",
    201: "Committed in PostgreSQL",
    202: "Safe in the journal",
    207: "Some readings were refused, the others were taken",
    304: "Not modified",
}
_RETRY_AFTER: Schema = {
    "description": "seconds to wait before the next attempt",
    "required": True,
    "schema": {"type": "integer", "minimum": 1, "maximum": RETRY_AFTER_MAX_S},
}
_HEADERS: dict[str, Schema] = {
    "Preference-Applied": {"description": "which of the preferences in `Prefer` was followed", "schema": _TEXT},
    "Link": {"description": 'the next page, with `rel="next"`, where there is one (RFC 8288)', "schema": _TEXT},
    "ETag": {"description": "for `If-None-Match`", "required": True, "schema": _TEXT},
    "Cache-Control": {"description": "to be asked about each time", "required": True, "schema": _TEXT},
    "Vary": {"description": "`Accept`: it chooses between JSON and CSV", "required": True, "schema": _TEXT},
    "Content-Disposition": {"description": "of CSV: the name of a file", "schema": _TEXT},
}
_ACCEPT: Schema = {"description": "media types that are taken, where the wrong one was sent", "schema": _TEXT}
_ACCEPT_ENCODING: Schema = {"description": "codings that are taken, where the wrong one was sent", "schema": _TEXT}
_CHALLENGE: Schema = {"description": "how to show who one is (RFC 6750)", "required": True, "schema": _TEXT}
_PROBLEM_HEADERS: dict[int, dict[str, Schema]] = {
    401: {"WWW-Authenticate": _CHALLENGE},
    415: {"Accept": _ACCEPT, "Accept-Encoding": _ACCEPT_ENCODING},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}
# Whatever the path: what is no HTTP, a head that is too large or too slow, one connection too many, a bug.
_OF_EVERY_ROUTE = ("bad_request", "request_timeout", "expectation_failed", "head_too_large", "overloaded", "internal")
_OF_EVERYTHING_PASSED_ON = ("analytics_unavailable",)  # acceptors pass questions on to analytics


def answer(route: Route, status: int) -> Schema:
    """Return the description of an answer that is no problem."""
    described: Schema = {"description": _SAID[status]}
    headers = {name: _HEADERS[name] for of_status, name in route.headers if of_status == status}
    if headers:
        described["headers"] = headers
    shape = route.answers[status]
    if isinstance(shape, dict):
        described["content"] = {"application/json": {"schema": shape}}
        if route.csv:
            described["content"][CSV] = {"schema": _CSV}
    elif shape is not None:
        types = (shape,) if isinstance(shape, str) else shape
        described["content"] = {content_type: {"schema": _TEXT} for content_type in types}
    if route.events:
        # OpenAPI 3.1 has no word for what a stream is made of.
        events = {name.lower(): reference(name) for name in route.events}
        described["content"] = {"text/event-stream": {"schema": _TEXT | {"x-events": events}}}
    return described


def problem_answers(route: Route, more: tuple[str, ...]) -> dict[str, Schema]:
    """Return the problems that a route may answer with, by status; those with the codes `more` besides its own.

    The codes of each stand in its text, and for programs in `x-problem-codes`: a schema for each set of codes would
    become a class each in generated clients.
    """
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys((*problem_codes(route), *more)):
        found.setdefault(PROBLEMS[code].status, []).append(code)
    return {str(status): _problem(status, codes) for status, codes in sorted(found.items())}


def problem_codes(route: Route) -> tuple[str, ...]:
    """Return the codes of all problems that a route may answer with, whoever asks."""
    passed_on = _OF_EVERYTHING_PASSED_ON if route.served_by == "analytics" and route.path != "/livez" else ()
    no_route = ("not_found",) if route.path_parameters else ()  # what no id can be, as one with a brace
    return (*route.problems, *no_route, *passed_on, *_OF_EVERY_ROUTE)


def _problem(status: int, codes: list[str]) -> Schema:
    described: dict[str, Any] = {
        "description": " ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
        "content": {CONTENT_TYPE: {"schema": reference("Problem")}},
        "x-problem-codes": codes,
    }
    if status in _PROBLEM_HEADERS:
        described["headers"] = _PROBLEM_HEADERS[status]
    return described


def links(route: Route) -> dict[int, dict[str, Schema]]:
    """Return by status what may be asked next, with what the answer says.

    The current state is there once the answer is 201: after 202 it follows with the next flush.
    """
    if route.body is None:
        return {}
    job = "/v1/ingest/jobs/{jobId}"
    one = _link(job, "jobId", "/jobId", "What became of the reading")
    first = _link(job, "jobId", "/jobIds/0", "What became of the part of the batch with the first receipt")
    jobs = {"job": one, "firstJob": first}
    states = {
        f"{kind.name}Current": _link(
            f"/v1/ingest/{kind.name}/{{id}}/current", "id", f"/{kind.id_wire}", f"The state of the {kind.name}"
        )
        for kind in KINDS
        if route.body in (f"{kind.name.capitalize()}Reading", "Reading")
    }
    return {201: jobs | states, 202: jobs, 207: {"firstJob": first}}


def _link(path: str, parameter: str, pointer: str, meaning: str) -> Schema:
    return {
        "operationId": operation_id("get", path),
        "parameters": {parameter: f"$response.body#{pointer}"},
        "description": meaning,
    }
