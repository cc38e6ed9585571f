"""The description and a running node agree, on both of its ports: schemathesis tries all of it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from hseie.openapi_schemas import EXAMPLE_JOB, EXAMPLE_TIME, example_reading
from hseie.readings import KINDS
from hseie.route_table import ROUTES
from tests.described import closed
from tests.system import contract
from tests.system.conftest import Stage
from tests.system.ledger import meter
from tests.system.node import Node


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    contract.register()


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Iterator[Node]:
    # Small batches, so that one that is too large can be tried.
    node = module_stage.node(DATABASE_URL=new_database(), HSEIE_HTTP__BATCH_READINGS_MAX="8").start()
    yield node
    node.stop()


def described(node: Node, port: str = "acceptor", **headers: str) -> dict[str, Any]:
    """What the node says of itself, without room to grow.

    Its examples get a time of today, since theirs ages, and a receipt that this node gave. It knows their devices: of
    the ids that are drawn it knows few.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    answer, _ = node.deliver("meter", meter("SEEN-1", 1.0), **headers)
    for kind in KINDS:
        node.deliver(kind.name, {**example_reading(kind), "timestamp": now}, Prefer="wait", **headers)
    text = json.dumps(node.get("/api/openapi.json").body)
    document: dict[str, Any] = json.loads(text.replace(EXAMPLE_TIME, now).replace(EXAMPLE_JOB, answer.body["jobId"]))
    document["components"] = closed(document["components"])
    for route in ROUTES:
        if route.events:  # such an answer does not end
            del document["paths"][route.path]
    if port == "analytics":
        for route in ROUTES:
            if route.served_by == "acceptor":
                del document["paths"][route.path]
    return document


EXAMPLES = contract.examples_of_a_run()


@pytest.mark.slow
@pytest.mark.timeout(300 + 20 * EXAMPLES)
@pytest.mark.parametrize("port", ["acceptor", "analytics"])
def test_a_node_does_what_it_says(node: Node, seed: int, port: str) -> None:
    print(f"HSEIE_TEST_SEED={seed}, {EXAMPLES} inputs an operation and phase")
    url = f"http://127.0.0.1:{node.port + (port == 'analytics')}"
    document = described(node, port)
    outcome = contract.run(document, url, seed, EXAMPLES)
    print(outcome)
    assert not outcome.failures, "\n".join([*outcome.failures[:40], f"{len(outcome.failures)} failures"])
    assert set(outcome.phases) >= {"examples", "coverage", "fuzzing"}
    # Good data were good, or else nothing was tried but refusals.
    operations = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    assert [name for name in operations if not outcome.accepted(name)] == []
    assert [name for name in operations if name.startswith("POST") and outcome.share(name) < 1] == []
    if port == "acceptor":
        assert outcome.phases["stateful"], "links were followed"
        jobs = outcome.good["GET /v1/ingest/jobs/{jobId}"]
        assert jobs[200], "from receipts to what became of them"


@pytest.mark.timeout(300 + 20 * EXAMPLES)
def test_a_node_with_keys_does_what_it_says(module_stage: Stage, new_database: Callable[[], str], seed: int) -> None:
    print(f"HSEIE_TEST_SEED={seed}, {EXAMPLES} inputs an operation and phase")
    node = module_stage.node("with-keys", DATABASE_URL=new_database(), HSEIE_AUTH__MODE="keys").start()
    made = node.command("keys", "create", "schemathesis", "--scope", "admin")
    key = made.stdout.strip()
    document = described(node, Authorization=f"Bearer {key}")
    outcome = contract.run(document, node.url, seed, EXAMPLES, key)
    print(outcome)
    assert not outcome.failures, "\n".join([*outcome.failures[:40], f"{len(outcome.failures)} failures"])
    operations = [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    assert [name for name in operations if not outcome.accepted(name)] == []
    node.stop()


@pytest.mark.parametrize("port", ["acceptor", "analytics"])
def test_where_there_is_get_there_is_head(node: Node, port: str) -> None:
    number = node.port + (port == "analytics")
    for route in ROUTES:
        path = route.path.replace("{", "").replace("}", "")
        if route.events:
            assert node.call("HEAD", path, port=number).headers["Content-Type"] == "text/event-stream"
        elif route.method == "get":
            head, whole = node.call("HEAD", path, port=number), node.call("GET", path, port=number)
            assert (head.status, head.body) == (whole.status, b""), path
            assert head.headers["Content-Type"] == whole.headers["Content-Type"], path
        elif port == "acceptor":
            answer = node.call("HEAD", path, port=number)
            there = ", ".join(sorted(other.method.upper() for other in ROUTES if other.path == route.path))
            assert (answer.status, answer.headers["Allow"]) == (405, there), path
