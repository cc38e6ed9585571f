"""Schemathesis on a running node: which data count as good, what is asked of the answers, and what came of it.

Not its plug-in for pytest, but its engine, whose events are read here. What it registers is global to the process.
"""

import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import CheckContext, HookContext, SerializationContext
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

# Inside of what is accepted, for as long as a test may run.
_PAST = timedelta(days=300)
_RECENT = timedelta(minutes=1)

# Members of a query that are good each for itself, and wrong together or at this moment: no schema can say that.
_TOGETHER = frozenset(("/from", "/to", "/window", "/cursor", "/at", "/validFrom", "/validTo"))

# Checks that have nothing to look at, with the reason.
SWITCHED_OFF = {
    "missing_required_header": "no header is required",
    "use_after_free": "a vehicle whose pairing has ended may be paired again",
    "object_level_authorization": "nothing belongs to who made it: a key may do what its scopes and devices say",
    "ignored_auth": "nobody is asked for a key, but where the run has one",
}


def register() -> None:
    """Tell schemathesis once what it cannot know."""
    load_all_checks()
    now = datetime.now(UTC)
    moments = st.datetimes(
        (now - _PAST).replace(tzinfo=None), (now - _RECENT).replace(tzinfo=None), timezones=st.just(UTC)
    )
    schemathesis.openapi.format("date-time", moments.map(_rfc3339))
    schemathesis.serializer("application/x-ndjson")(_lines)
    schemathesis.hook(filter_failure)
    schemathesis.hook(map_query)
    schemathesis.check(problems_are_declared)
    schemathesis.check(counts_add_up)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(ctx: SerializationContext, value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(item) for item in items).encode()


def map_query(context: HookContext, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Make parameters good together that are good each for itself; what is wrong in itself stays as it is."""
    if not query:
        return query
    start, end = query.get("from"), query.get("to")
    if _is_moment(start) and _is_moment(end) and end < start:
        query["from"], query["to"] = end, start
    if _is_moment(start) and _is_window(query.get("window")):
        del query["window"]
    if _is_moment(end) and "from" not in query:
        query["from"] = _rfc3339(datetime.fromisoformat(end) - timedelta(days=1))
    if _is_cursor(query.get("cursor")):
        del query["cursor"]  # only the node can make one that is good
    return query


def _is_moment(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value) is not None


def _is_window(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,5}[mhd]", value) is not None


def _is_cursor(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{16,100}", value) is not None


def filter_failure(context: HookContext, failure: Failure, case: Any, response: Any) -> bool:
    """Whether a failure is one: good parameters may be wrong together, which the answer has to say of exactly those."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    body = response.json()
    pointers = {error.get("pointer") for error in body.get("errors", ())}
    return not (body.get("code") in ("bad_parameter", "invalid_pair") and pointers and pointers <= _TOGETHER)


def problems_are_declared(ctx: CheckContext, response: Any, case: Any) -> None:
    """The code of a problem is one that is described for this route and status, and what is wrong is named."""
    if response.status_code < 400:
        return
    described = case.operation.definition.raw["responses"].get(str(response.status_code))
    if described is None:  # an unexpected method, or what status_code_conformance complains about
        return
    code = response.json()["code"]
    assert code in described["x-problem-codes"], f"{code} is not described for {response.status_code}"


def counts_add_up(ctx: CheckContext, response: Any, case: Any) -> None:
    """The answer to a batch accounts for every item: taken, known, or refused with its index."""
    if response.status_code not in (201, 202, 207) or "accepted" not in (body := response.json()):
        return
    if not isinstance(case.body, NotSet) and isinstance(case.body, list):
        assert body["accepted"] + body["duplicates"] + body["rejected"] == len(case.body)
    assert (response.status_code == 207) == (body["rejected"] > 0)
    assert len(body.get("rejectedIndexes", ())) == body["rejected"]


@dataclass
class Outcome:
    """What came of a run: failures as texts, and by operation how often each status was answered, by kind of data."""

    failures: list[str] = field(default_factory=list)
    good: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    bad: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    filtered: int = 0
    phases: Counter[str] = field(default_factory=Counter)

    def accepted(self, operation: str) -> int:
        """How often good data were answered with what was asked for."""
        return sum(count for status, count in self.good[operation].items() if status < 400)

    def share(self, operation: str) -> float:
        """That number to all of the good data."""
        return self.accepted(operation) / max(1, self.good[operation].total())

    def __str__(self) -> str:
        lines = [f"phases {dict(self.phases)}, refused as wrong together {self.filtered}"]
        for label in sorted({*self.good, *self.bad}):
            lines.append(f"{label}: good {dict(self.good[label])}, bad {dict(self.bad[label])}")
        return "\n".join(lines)


def settings(url: str, seed: int, examples: int, key: str) -> dict[str, Any]:
    """The configuration, as schemathesis.toml has it; with a `key` only of what is drawn and what keys are about."""
    statuses_of_bad = ["400", "404", "405", "413", "415", "431"]
    return {
        "seed": seed,
        "base-url": url,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "workers": 1,
        "request-timeout": 60,
        "continue-on-failure": True,
        "checks": {
            **{name: {"enabled": False} for name in SWITCHED_OFF},
            "ignored_auth": {"enabled": bool(key)},
            # A batch with good and bad readings is taken in part.
            "negative_data_rejection": {"expected-statuses": [*statuses_of_bad, "207"]},
            # 409: pairings of devices that were made up before are in the way.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "404", "409"]},
        },
        "generation": {
            "max-examples": examples,
            "no-shrink": True,
            "database": "none",
            "with-security-parameters": False,
        },
        "phases": {
            "coverage": {"enabled": not key, "generate-duplicate-query-parameters": True},
            # By the links that are described. Others would be guessed, and what was answered with 202 is not there yet.
            "stateful": {"max-steps": 4, "inference": {"algorithms": []}},
        },
    }


def run(document: dict[str, Any], url: str, seed: int, examples: int, key: str = "") -> Outcome:
    """Try all operations of a description on what answers at `url`."""
    config = SchemathesisConfig.from_dict(settings(url, seed, examples, key))
    schema = schemathesis.openapi.from_dict(document, config=config)
    outcome = Outcome()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event, outcome)
        elif isinstance(event, events.NonFatalError):
            outcome.failures.append(f"{event.label}: {event.info}")
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.EngineFinished):
            outcome.failures += [str(failure) for failure in event.failures]
    return outcome


def _note(event: events.ScenarioFinished, outcome: Outcome) -> None:
    recorder = event.recorder
    outcome.phases[event.phase.value] += len(recorder.interactions)
    outcome.filtered += sum(recorder.filtered_failures.values())
    for case_id, interaction in recorder.interactions.items():
        node = recorder.cases.get(case_id)
        if node is None or interaction.response is None:
            continue
        case = node.value
        mode = case.meta.generation.mode if case.meta is not None else None
        counts = outcome.good if mode is not None and mode.is_positive else outcome.bad
        counts[case.operation.label][interaction.response.status_code] += 1
        for check in recorder.checks.get(case_id, ()):
            if check.status == Status.FAILURE and check.failure_info is not None:
                body = (interaction.response.content or b"")[:300]
                outcome.failures.append(
                    f"{event.phase.value}: {case.operation.label}: {check.name}: {check.failure_info.failure.message}\n"
                    f"  {case.as_curl_command()[:600]}\n  {interaction.response.status_code} {body!r}"
                )


def examples_of_a_run() -> int:
    """How many inputs an operation gets in each phase that draws them, out of those of a whole run."""
    return max(5, int(os.environ.get("HSEIE_FUZZ_INPUTS") or 0) // 100)
