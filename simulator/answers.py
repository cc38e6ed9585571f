"""What a server's answer says about the readings of a request."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

ACCEPTED, REJECTED, FAILED, UNKNOWN = "accepted", "rejected", "failed", "unknown"


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


def what_it_says(body: bytes) -> str:
    """The words of an answer that is a problem (RFC 9457), as one sentence; none where it is something else."""
    answer = _object(body)
    told = [str(answer[name]).strip().rstrip(".") for name in ("title", "detail") if answer.get(name)]
    return f"{': '.join(told)}." if told else ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _number(answer: dict[str, Any], name: str) -> int:
    value = answer.get(name, 0)
    return value if isinstance(value, int) else 0
