"""Every error answer of the HTTP interface, declared once (RFC 9457, application/problem+json).

The retry rule is OTLP's: 429, 502, 503 and 504 may be retried and carry `Retry-After`; every other 4xx is final.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from hseie.retry_after import ESTIMATE_MAX_S, retry_after_s

CONTENT_TYPE = "application/problem+json"
# Codes of the entries of an answer's `errors`: what may be wrong in one place.
ITEM_CODES = {
    "bad_json": "the line is not JSON",
    "not_an_object": "the item is not an object",
    "unknown_kind": "the item has not exactly one of the id fields",
    "missing_field": "a field is not there",
    "unknown_field": "a field is none of a reading's",
    "bad_type": "a field has a value of another type",
    "bad_id": "an id is empty, too long, or has other characters than it may",
    "bad_timestamp": "a time is not RFC 3339 with an offset",
    "timestamp_out_of_range": "a time lies too far back or ahead",
    "out_of_range": "a number lies outside its range",
    "device_not_allowed": "this key or certificate may not speak for this device",
    "device_quota": "one device more than this key may report for",
    "unknown_parameter": "a parameter of the query is none of this route's",
    "bad_value": "a parameter of the query has a value that it cannot have",
}
ERRORS_MAX = 100  # entries of one answer's `errors`; more would repeat the first hundred's lesson


class ErrorItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong in a request: where (`index` of the item in a batch, JSON `pointer` in it), which, and why."""

    code: str
    detail: str
    pointer: str = ""
    index: int | None = None


@dataclass(frozen=True)
class Problem:
    """A class of error answers: its machine-readable code, status and title.

    `retry_s` is the estimate behind its Retry-After where who answers has no better one (0: it is not to be retried).
    """

    code: str
    status: int
    title: str
    retry_s: float = 0.0

    @property
    def retryable(self) -> bool:
        return self.status in (429, 502, 503, 504)


def _problems(*rows: tuple[str, int, str] | tuple[str, int, str, float]) -> dict[str, Problem]:
    return {row[0]: Problem(*row) for row in rows}


PROBLEMS = _problems(
    ("bad_request", 400, "This is no HTTP/1.1 request."),
    ("bad_json", 400, "The body is not valid JSON."),
    ("not_an_object", 400, "The body is neither an object nor an array of objects."),
    ("empty_batch", 400, "The array holds no readings."),
    ("invalid_reading", 400, "The reading was refused."),
    ("all_rejected", 400, "Every reading was refused."),
    ("bad_parameter", 400, "A parameter of the query is wrong."),
    ("invalid_pair", 400, "The pairing was refused."),
    ("bad_encoding", 400, "The body cannot be unpacked: its compression or its framing is damaged."),
    ("unauthorized", 401, "A valid API key is needed."),
    ("forbidden", 403, "This key or certificate may not do that."),
    ("device_not_allowed", 403, "This key or certificate may not speak for this device."),
    ("not_found", 404, "There is nothing here."),
    ("unknown_device", 404, "No reading of this device was ever stored."),
    ("unknown_job", 404, "This job was never handed out."),
    ("unknown_pair", 404, "No pairing of this vehicle runs."),
    ("method_not_allowed", 405, "This method does not exist here."),
    ("request_timeout", 408, "The request did not arrive in time."),
    ("pair_conflict", 409, "Another pairing is in the way."),
    ("too_large", 413, "The body is larger than the limit."),
    ("batch_too_large", 413, "The batch holds more readings than the limit."),
    ("unsupported_media_type", 415, "The body's type or encoding is not taken."),
    ("expectation_failed", 417, "Of what `Expect` may ask for, only 100-continue is met."),
    ("rate_limited", 429, "This key sends more than it may.", 1.0),
    (
        "device_quota",
        429,
        "This key reports for as many devices as it may.",
        ESTIMATE_MAX_S,
    ),  # until somebody raises it
    ("head_too_large", 431, "The head of the request is larger than the limit."),
    ("internal", 500, "An error of HSEIE's own; it was logged."),
    ("overloaded", 503, "Too many requests are in flight.", 0.5),
    ("writer_unavailable", 503, "The writer of this shard does not answer.", 0.5),  # a restart takes about a second
    ("journal_full", 503, "The journal is at its limit, because the database is away or slow.", ESTIMATE_MAX_S),
    ("disk_full", 503, "The journal's disk is nearly full.", 10.0),  # somebody has to make room
    ("draining", 503, "The node is shutting down.", 0.5),  # the next acceptor may take it at once
    ("not_ready", 503, "The node is not ready to serve.", 2.0),
    ("ack_timeout", 503, "The acknowledgement took too long; the reading may have been stored.", 1.0),
    ("keys_unavailable", 503, "API keys cannot be checked at the moment.", 2.0),
    ("database_unavailable", 503, "The database does not answer.", 2.0),
    ("archive_unavailable", 503, "Archived days cannot be read at the moment.", 10.0),  # somebody has to look
    ("analytics_unavailable", 503, "The analytics process does not answer.", 0.5),
)


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
    retry_s: float | None = None,
) -> ProblemAnswer:
    """Return the answer for a declared problem. `extra` adds members, as RFC 9457 section 3.2 allows.

    `retry_s` estimates when to try again, better than the problem's own.

    Raises KeyError for a code that is not declared above.
    """
    problem = PROBLEMS[code]
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": detail or problem.title,
        **(extra or {}),
    }
    if errors:
        document["errors"] = [msgspec.to_builtins(error) for error in errors[:ERRORS_MAX]]
    headers = {"Content-Type": CONTENT_TYPE, "X-Content-Type-Options": "nosniff"}
    if problem.retryable:
        estimate = problem.retry_s if retry_s is None else retry_s
        headers["Retry-After"] = str(retry_after_s(estimate, random.random()))  # noqa: S311  # jitter, not a secret
    return ProblemAnswer(code, problem.status, headers, orjson.dumps(document))
