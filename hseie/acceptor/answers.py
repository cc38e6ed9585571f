"""The answers of the ingest routes, made of what was parsed and what the writers said. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from hseie.acceptor.parse import Parsed
from hseie.acceptor.tickets import Receipt
from hseie.access import NOT_ALLOWED, OVER_QUOTA
from hseie.problems import ERRORS_MAX, ProblemAnswer, problem_answer
from hseie.readings import Kind


def wire_time(canonical: str) -> str:
    """Return canonical time text as the answers show it: UTC, at least milliseconds, ending in Z."""
    seconds, _, fraction = canonical.partition(".")
    return f"{seconds}.{fraction.ljust(3, '0')}Z"


def answer_one(
    kind: Kind, parsed: Parsed, receipt: Receipt, duplicate: bool, stored: bool, parked: int = 0
) -> tuple[int, bytes]:
    """Return status and body for one accepted reading; an exact re-send says so and is a success all the same.

    One that was `parked` because PostgreSQL refused it is kept, and not stored: 202, and it says so.
    """
    document = {
        "success": True,
        kind.id_wire: parsed.device,
        "timestamp": wire_time(parsed.time),
        "mode": "direct" if stored else "queued",
        "jobId": receipt.job_id,
    }
    if duplicate:
        document["duplicate"] = True
    if parked:
        document["deadLettered"] = parked
    return (201 if stored else 202), orjson.dumps(document)


def answer_batch(
    parsed: Parsed, receipts: Sequence[Receipt], duplicates: int, stored: bool, parked: int = 0
) -> tuple[int, bytes]:
    """Return status and body for a batch of which at least one reading was accepted.

    `accepted` counts the new readings, `duplicates` the exact re-sends (acknowledged as well), `rejected` the others.
    Of the accepted ones `parked` were refused by PostgreSQL: kept, and not stored.
    """
    status = 207 if parsed.rejected else (201 if stored else 202)
    document: dict[str, Any] = {
        "accepted": parsed.accepted - duplicates,
        "duplicates": duplicates,
        "rejected": parsed.rejected,
        "mode": "direct" if stored else "queued",
        "jobIds": list(dict.fromkeys(receipt.job_id for receipt in receipts)),  # kinds share a frame
        "errors": [msgspec.to_builtins(error) for error in parsed.errors[:ERRORS_MAX]],
    }
    if parsed.rejected:
        document["rejectedIndexes"] = parsed.rejected_indexes  # all of them, also where the list of errors is cut
    if parked:
        document["deadLettered"] = parked
    return status, orjson.dumps(document)


def answer_rejected(parsed: Parsed) -> ProblemAnswer:
    """Return the answer to a request of which no reading was taken."""
    code, detail = "invalid_reading", ""
    extra: dict[str, Any] = {}
    if parsed.is_batch:  # with what the answer to a batch taken in part has, too
        code, detail = "all_rejected", f"{parsed.rejected} readings refused"
        extra = {"accepted": 0, "duplicates": 0, "rejected": parsed.rejected}
        extra["rejectedIndexes"] = parsed.rejected_indexes
    if sum(parsed.refused.values()) == parsed.rejected:  # good readings, all of them
        code = NOT_ALLOWED if NOT_ALLOWED in parsed.refused else OVER_QUOTA
    return problem_answer(code, detail, parsed.errors, extra=extra)
