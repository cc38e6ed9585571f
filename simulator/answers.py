"""What a server's answer says about the readings of a request."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

ACCEPTED, REJECTED, FAILED, UNKNOWN = "accepted", "rejected", "failed", "unknown"

NO_ACCESS = frozenset({401, 403})
"""The server does not know who asks, or does not let them: about the key or certificate, not about the readings."""


class Verdict(NamedTuple):
    """What became of a request's readings; the counts add up to them unless the server miscounted.

    ``failed``: the server said no for now until the attempts were used up, or was never reached.
    ``unknown``: a request was sent and no final answer came; its readings may be stored or not.
    ``rejected_at``: indexes of the refused readings, as far as the answer names them.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    failed: int = 0
    unknown: int = 0
    rejected_at: tuple[int, ...] = ()

    @property
    def outcome(self) -> str:
        """One word for the whole request; ``accepted`` as soon as the server took or knew any of it."""
        if self.unknown:
            return UNKNOWN
        if self.failed:
            return FAILED
        return ACCEPTED if self.accepted or self.duplicates else REJECTED


def read_answer(count: int, status: int, body: bytes) -> Verdict:
    """The verdict of a final answer to ``count`` readings: 2xx or a 4xx that may not be retried."""
    answer = _object(body)
    if count == 1 and "accepted" not in answer:
        if not 200 <= status < 300:
            return Verdict(rejected=1, rejected_at=(0,))
        return Verdict(duplicates=1) if answer.get("duplicate") is True else Verdict(accepted=1)
    if "accepted" not in answer:
        if 200 <= status < 300:
            return Verdict(accepted=count)
        return Verdict(rejected=count, rejected_at=tuple(range(count)))
    errors = answer.get("errors")
    named = {error.get("index") for error in errors if isinstance(error, dict)} if isinstance(errors, list) else set()
    return Verdict(
        accepted=_number(answer, "accepted"),
        duplicates=_number(answer, "duplicates"),
        rejected=_number(answer, "rejected"),
        rejected_at=tuple(sorted(index for index in named if isinstance(index, int))),
    )


def refusal(status: int, body: bytes) -> str:
    """What a 401 or 403 says, in a line for people."""
    answer = _object(body)
    return f"{status} {answer.get('detail') or answer.get('title') or ''}".rstrip()


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _number(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name, 0)
    return value if isinstance(value, int) else 0
