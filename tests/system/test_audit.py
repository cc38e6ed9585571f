"""The books of a node that works at full rate, and of one that has just been killed."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, meter, prove_nothing_lost
from tests.system.node import Node, eventually

AUDITS = 10


def over_http(node: Node) -> dict[str, Any]:
    answer = node.get("/v1/audit?days=all")
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    return body


@pytest.mark.parametrize("window_s", ["900", "0"])
def test_a_busy_node_is_audited_again_and_again_and_never_accused(
    stage: Stage, new_database: Callable[[], str], window_s: str
) -> None:
    # Flushes follow each other closely; without a window, journals are pruned right behind the checkpoint.
    node = stage.node(
        DATABASE_URL=new_database(), HSEIE_WRITER__FLUSH_INTERVAL_MS="20", HSEIE_INGEST__DEDUPE_WINDOW_S=window_s
    ).start()
    repeats = 0.05 if window_s != "0" else 0.0  # without a window a re-send is one more reading
    load = stage.load(node, fast=True, batch=50, concurrency=8, history=12, repeat_share=repeats)
    eventually(lambda: over_http(node)["kinds"]["meter"]["received"] > 1000, "readings arrive")
    received, flying = [], 0
    for number in range(AUDITS):
        document = node.audit() if number % 2 else over_http(node)
        assert document["differences"] == []
        assert document["notes"] == []
        kinds = document["kinds"].values()
        received.append(sum(kind["received"] for kind in kinds))
        flying += sum(kind["in_flight" if number % 2 else "inFlight"] for kind in kinds)
    forgotten = eventually(
        lambda: [file["pruned_seq"] for file in node.journals() if file["pruned_seq"]] or window_s != "0",
        "it is pruned",
    )
    summary = load.stop()
    print(f"{AUDITS} audits; received up to each: {received}; in flight in all of them: {flying}; pruned: {forgotten}")
    assert received == sorted(received)
    assert received[-1] > received[0]  # it was at work meanwhile
    assert set(summary["statuses"]) <= {"202", "207", "400", "503"}
    if window_s != "0":
        prove_nothing_lost(node, Ledger().read(load.ledger_file))
    else:
        acknowledged = sum(kind["acknowledged"] for kind in node.audit()["kinds"].values())
        assert acknowledged >= summary["accepted"]


def test_the_books_of_a_node_that_was_killed(stage: Stage, new_database: Callable[[], str]) -> None:
    # It flushes so seldom that it dies with everything in its journals.
    node = stage.node(DATABASE_URL=new_database(), HSEIE_WRITER__FLUSH_INTERVAL_MS="25000").start()
    ledger = Ledger()
    first = [meter(f"K-{number}") for number in range(40)]
    assert node.post("meter", first, Prefer="wait").status == 201
    second = [meter(f"K-{number}") for number in range(25)]
    assert node.post("meter", [*second, *first[:5]]).status == 202
    ledger.note("meter", [*first, *second])
    node.kill_supervisor()
    document = node.audit()
    meters = document["kinds"]["meter"]
    assert (document["differences"], document["notes"]) == ([], [])
    assert (meters["acknowledged"], meters["received"], meters["in_flight"]) == (70, 40, 30)
    waiting = [file["readings_waiting"]["meter"] for file in node.journals()]
    assert sum(waiting) == 30
    assert min(waiting) > 0
    node.start()
    eventually(lambda: node.audit()["kinds"]["meter"]["in_flight"] == 0, "all is flushed")
    assert node.audit()["kinds"]["meter"]["duplicates"] == 5
    prove_nothing_lost(node, ledger)


def test_what_somebody_did_to_the_tables_is_found_while_the_node_runs(
    stage: Stage, new_database: Callable[[], str]
) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    readings = [meter(f"T-{number}") for number in range(20)]
    assert node.post("meter", readings, Prefer="wait").status == 201
    [(day,)] = node.sql(
        "DELETE FROM meter_history WHERE meter_id = 'T-7' RETURNING (timestamp AT TIME ZONE 'UTC')::date"
    )
    place = f"meter_history_{day:%Y_%m_%d} has 19 rows, the books say 20 of {day} were stored"
    assert node.audit()["differences"] == [
        place,
        "meter_current differs from the newest reading for 1 devices, for example T-7",
    ]
    body = over_http(node)
    assert (body["balanced"], body["differences"][0]) == (False, place)
