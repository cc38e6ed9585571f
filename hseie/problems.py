"""Every error answer of the HTTP interface, declared once (RFC 9457, application/problem+json).

The retry rule is OTLP's: 429, 502, 503 and 504 may be retried and carry `Retry-After`; every other 4xx is final.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

CONTENT_TYPE = "application/problem+json"
ERRORS_MAX = 100  # entries of one answer's `errors`; more would repeat the first hundred's lesson


class ErrorItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong in a request: where (`index` of the item in a batch, JSON `pointer` in it), which, and why."""

    code: str
    detail: str
    pointer: str = ""
    index: int | None = None


@dataclass(frozen=True)
class Problem:
    """A class of error answers: its machine-readable code, status and title."""

    code: str
    status: int
    title: str

    @property
    def retryable(self) -> bool:
        return self.status in (429, 502, 503, 504)


def _problems(*rows: tuple[str, int, str]) -> dict[str, Problem]:
    return {code: Problem(code, status, title) for code, status, title in rows}


PROBLEMS = _problems(
    ("bad_json", 400, "The body is not valid JSON."),
    ("not_an_object", 400, "The body is neither an object nor an array of objects."),
    ("empty_batch", 400, "The array holds no readings."),
    ("invalid_reading", 400, "The reading was refused."),
    ("all_rejected", 400, "Every reading was refused."),
    ("bad_parameter", 400, "A parameter of the query is wrong."),
    ("bad_encoding", 400, "The body cannot be unpacked: its compression or its framing is damaged."),
    ("not_found", 404, "There is nothing here."),
    ("unknown_device", 404, "No reading of this device was ever stored."),
    ("unknown_job", 404, "This job was never handed out."),
    ("method_not_allowed", 405, "This method does not exist here."),
    ("request_timeout", 408, "The body did not arrive in time."),
    ("too_large", 413, "The body is larger than the limit."),
    ("batch_too_large", 413, "The batch holds more readings than the limit."),
    ("unsupported_media_type", 415, "The body's type or encoding is not taken."),
    ("internal", 500, "An error of HSEIE's own; it was logged."),
    ("overloaded", 503, "Too many requests are in flight."),
    ("writer_unavailable", 503, "The writer of this shard does not answer."),
    ("journal_full", 503, "The journal is at its limit, because the database is away or slow."),
    ("draining", 503, "The node is shutting down."),
    ("not_ready", 503, "The node is not ready to serve."),
    ("ack_timeout", 503, "The acknowledgement took too long; the reading may have been stored."),
    ("database_unavailable", 503, "The database does not answer."),
    ("analytics_unavailable", 503, "The analytics process does not answer."),
)

RETRY_AFTER_S = 1


@dataclass(frozen=True)
class ProblemAnswer:
    """An error answer, ready to send."""

    code: str
    status: int
    headers: dict[str, str]
    body: bytes


def problem_answer(
    code: str,
    detail: str = "",
    errors: Sequence[ErrorItem] = (),
    extra: dict[str, Any] | None = None,
    retry_after_s: int = RETRY_AFTER_S,
) -> ProblemAnswer:
    """Return the answer for a declared problem. `extra` adds members, as RFC 9457 section 3.2 allows.

    Raises KeyError for a code that is not declared above.
    """
    problem = PROBLEMS[code]
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": detail or HTTPStatus(problem.status).description,
        **(extra or {}),
    }
    if errors:
        document["errors"] = [msgspec.to_builtins(error) for error in errors[:ERRORS_MAX]]
    headers = {"Content-Type": CONTENT_TYPE}
    if problem.retryable:
        headers["Retry-After"] = str(retry_after_s)
    return ProblemAnswer(code, problem.status, headers, orjson.dumps(document))
