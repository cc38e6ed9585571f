"""`/metrics` of a real node: counts what was sent, shows what is reported, and stays while PostgreSQL is away."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import parser

from hseie.embedded.server import EmbeddedPostgres
from hseie.metric_types import SOURCES
from hseie.metrics import METRICS
from tests.system.conftest import Stage
from tests.system.ledger import meter
from tests.system.node import Node, eventually

# Members of reports that the page leaves out: who it is, the labels of the others, and sums of what it shows.
NOT_SHOWN = {
    "node": {
        *("pid", "data", "url", "postgres_url", "version", "postgres", "keys_file"),
        *("config", "generation", "reloading", "last_reload", "missing", "messages_refused"),
    },
    "process": {"name", "role", "pid", "generation", "config"},
    "acceptor": {"number", "keys_trouble", "certificate_trouble"},  # in words, for `hseie status`
    "analytics": {"keys_trouble", "certificate_trouble"},
    "maintenance": {"archive_trouble_reason", "partitions_foreign_names"},  # in words, for `hseie status`
    "writer": {"shard", "dead_lettered", "sync_ms"},  # the sum over kinds; the latest one of a histogram
}
SEEN_BY_ANALYTICS = {"supervisor_up", "postgres_up", "ready", "up"}

Page = dict[str, float]  # per metric the sum of its series
Reports = dict[str, list[dict[str, Any]]]  # per source (hseie.metric_types)


def text_of(node: Node, port: int | None = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port or node.port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        return answer.read().decode()
    finally:
        connection.close()


def samples(text: str) -> Iterator[Any]:
    for family in parser.text_string_to_metric_families(text):
        yield from family.samples


def page_of(node: Node, port: int | None = None) -> Page:
    page: Page = {}
    for sample in samples(text_of(node, port)):
        labels = {name: value for name, value in sample.labels.items() if name in ("code", "reason", "kind", "state")}
        name = "/".join((sample.name, *labels.values()))
        page[name] = page.get(name, 0.0) + sample.value
    return page


def gained(before: Page, after: Page) -> Page:
    """By how much the metrics that only grow have grown."""
    counters = ("_total", "_count")
    grown = {name: after[name] - before.get(name, 0.0) for name in after if name.split("/")[0].endswith(counters)}
    return {name: value for name, value in grown.items() if value}


def reports_of(node: Node) -> Reports:
    status = node.status()
    found: Reports = {"node": [status["node"]], "process": []}
    for row in status["processes"]:
        found.setdefault(row["role"], []).append(row.pop("stats"))
        row["last_exit"] = {name: value for name, value in (row["last_exit"] or {}).items() if name != "text"}
        found["process"].append(row)
    return found


def leaves(report: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the figures of a report stand; a histogram is one figure."""
    if isinstance(report, dict) and set(report) != {"counts", "sum"}:
        for name, value in report.items():
            yield from leaves(value, (*path, name))
    else:
        yield path


def leads_to(declared: str, leaf: tuple[str, ...]) -> bool:
    parts = declared.split(".")
    pairs = zip(parts, leaf, strict=False)
    return len(parts) == len(leaf) and all(part == name or part.startswith("{") for part, name in pairs)


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    return module_stage.node(DATABASE_URL=new_database()).start()


def test_counters_move_by_exactly_what_was_sent(node: Node) -> None:
    before = page_of(node)
    assert before["hseie_node_ready"] == before["hseie_node_postgres_up"] == before["hseie_node_supervisor_up"] == 1
    good = [meter(f"DEVICE-{number}") for number in range(100)]
    car = {"vehicleId": "CAR-1", "soc": 50, "kwhDeliveredDc": 1, "batteryTemp": 20, "timestamp": good[0]["timestamp"]}
    sent = [
        node.post("meter", good, Prefer="wait"),  # 100 new
        node.post("meter", [*good[:30], {**good[0], "voltage": 501}]),  # 30 known, 1 out of range
        node.post("vehicle", car),
        node.post("meter", {"meterId": "DEVICE-1"}),  # three fields are missing
        node.post("meter", b"{"),
        node.post("meter", b"[" + b" " * 3_000_000 + b"]"),
        node.call("POST", "/v1/ingest/meter", b"x", {"Content-Type": "text/plain"}),
    ]
    assert [answer.status for answer in sent] == [201, 207, 202, 400, 400, 413, 415]
    expected = {
        "hseie_acceptor_requests_total": 7.0,
        "hseie_acceptor_answers_total/201": 1.0,
        "hseie_acceptor_answers_total/202": 1.0,
        "hseie_acceptor_answers_total/207": 1.0,
        "hseie_acceptor_answers_total/400": 2.0,
        "hseie_acceptor_answers_total/413": 1.0,
        "hseie_acceptor_answers_total/415": 1.0,
        "hseie_acceptor_problems_total/invalid_reading": 1.0,
        "hseie_acceptor_problems_total/bad_json": 1.0,
        "hseie_acceptor_problems_total/too_large": 1.0,
        "hseie_acceptor_problems_total/unsupported_media_type": 1.0,
        "hseie_acceptor_readings_total": 133.0,
        "hseie_acceptor_readings_accepted_total": 101.0,
        "hseie_acceptor_readings_duplicates_total": 30.0,
        "hseie_acceptor_readings_rejected_total": 2.0,
        "hseie_acceptor_reading_errors_total/out_of_range": 1.0,
        "hseie_acceptor_reading_errors_total/missing_field": 3.0,
        "hseie_writer_readings_received_total/meter": 130.0,
        "hseie_writer_readings_received_total/vehicle": 1.0,
        "hseie_writer_readings_duplicates_total/meter": 30.0,
        "hseie_writer_readings_stored_total/meter": 100.0,
        "hseie_writer_readings_stored_total/vehicle": 1.0,
    }

    def told() -> bool:
        found = gained(before, page_of(node))
        return {name: found.get(name) for name in expected} == expected

    with suppress(AssertionError):  # what is wrong shows below
        eventually(told, "heartbeats tell of all that was sent", 20)
    time.sleep(1.5)  # whatever counted too much would have been told by now
    after = page_of(node)
    found = gained(before, after)
    assert {name: found.get(name) for name in expected} == expected
    # Nothing else of the kind has moved: no refusal, failure or dead letter.
    quiet = ("hseie_acceptor_answers", "hseie_acceptor_problems", "hseie_acceptor_reading", "hseie_writer_readings")
    quiet = (*quiet, "hseie_writer_dead", "hseie_writer_frames_refused", "hseie_writer_flush_failures")
    assert {name: value for name, value in found.items() if name.startswith(quiet)}.keys() <= expected.keys()
    # As many frames as were sent were acknowledged, journaled and timed; no more groups than frames; flushes likewise.
    frames = found["hseie_acceptor_frames_sent_total"]
    assert frames == found["hseie_acceptor_ack_seconds_count"] == found["hseie_writer_frames_total"]
    assert 0 < found["hseie_writer_journal_sync_seconds_count"] <= frames
    flushes = found["hseie_writer_flushes_total"]
    assert flushes == found["hseie_writer_flush_seconds_count"] == found["hseie_writer_flush_readings_count"] > 0
    assert after["hseie_writer_flush_readings_sum"] - before["hseie_writer_flush_readings_sum"] == 131
    # What every process tells of itself.
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "loop_lag_seconds_count"):
        assert after[f"hseie_process_{name}"] > 0
    assert after["hseie_process_up"] == 6
    # The other port shows the same, and neither names a device.
    direct = page_of(node, node.port + 1)
    assert {name: direct[name] for name in expected} == {name: after[name] for name in expected}
    text = text_of(node)
    assert "DEVICE" not in text
    assert "CAR" not in text


def test_every_figure_that_is_reported_is_shown_and_the_other_way_round(node: Node) -> None:
    node.post("meter", [meter("A"), {}], Prefer="wait")
    assert node.post("meter", b"{").status == 400
    node.get("/v1/analytics/stats")
    pid = node.kill("maintenance")
    node.until_back("maintenance", pid)

    def told() -> Reports | None:
        found = reports_of(node)
        problems = [stats.get("problems") for stats in found["acceptor"]]
        queries = found["analytics"][0].get("queries")
        # How far rollups are is known after the first round.
        rounds = any("rollup_lag_s" in stats for stats in found["maintenance"])
        return found if any(problems) and queries and rounds else None

    found = eventually(told, "heartbeats tell of it")
    for source in found.keys() & SOURCES.keys():
        paths = [metric.path for metric in METRICS if metric.source == source]
        figures = {leaf for report in found[source] for leaf in leaves(report)}
        hidden = {leaf for leaf in figures if not any(leads_to(path, leaf) for path in paths)}
        hidden -= {(name,) for name in NOT_SHOWN.get(source, ())}
        assert hidden == set(), f"declare it in hseie/metrics*.py, or list it in NOT_SHOWN: {source} {hidden}"
    for metric in METRICS:
        if metric.path not in SEEN_BY_ANALYTICS | {""}:
            figures = {leaf for report in found[metric.source] for leaf in leaves(report)}
            # Reasons that have not come up are an empty dictionary.
            empty = metric.path.split(".{")[0] in {name for report in found[metric.source] for name in report}
            supplied = any(leads_to(metric.path, leaf) for leaf in figures) or ("{" in metric.path and empty)
            assert supplied, f"nobody reports {metric.path}, which {metric.name} shows"


def test_while_postgresql_is_away_the_page_answers_and_says_so(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = stage.node(DATABASE_URL=own_server.start()).start()
    assert page_of(node)["hseie_node_postgres_up"] == 1
    own_server.stop()
    readings = [meter(f"A-{number}") for number in range(50)]
    assert node.post("meter", readings).status == 202

    def away() -> Page | None:
        page = page_of(node)
        known = page["hseie_node_postgres_up"] == 0 and page["hseie_writer_database_state/away"] == 2
        return page if known and page["hseie_writer_readings_received_total/meter"] == 50 else None

    page = eventually(away, "both writers and analytics have noticed")
    assert page["hseie_node_ready"] == 0
    assert page["hseie_writer_readings_stored_total/meter"] == 0
    assert page["hseie_writer_readings_waiting/meter"] + page["hseie_writer_readings_active/meter"] == 50
    assert page["hseie_writer_flush_failures_total/unavailable"] > 0
    assert page["hseie_node_supervisor_up"] == 1
    own_server.start()
    eventually(
        lambda: page_of(node)["hseie_writer_readings_stored_total/meter"] == 50, "all of it arrives and is counted"
    )
    eventually(lambda: page_of(node)["hseie_node_ready"] == 1, "the page says that all is well")


def test_dead_letters_and_restarts_are_counted(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    node.sql("ALTER TABLE meter_history ADD CONSTRAINT system_test CHECK (voltage < 400)")
    answer = node.post("meter", [meter("A"), meter("B", volts=450.0), meter("C")], Prefer="wait")
    assert (answer.status, answer.body["deadLettered"]) == (202, 1)
    page = eventually(
        lambda: page if (page := page_of(node))["hseie_writer_dead_letters_total/meter"] else None, "one is parked"
    )
    assert page["hseie_writer_dead_letters_total/meter"] == page["hseie_writer_recent_dead_letters"] == 1
    assert page["hseie_writer_readings_stored_total/meter"] == 2
    assert page["hseie_writer_flush_failures_total/refused"] == 1
    pid = node.kill("writer-0")
    node.until_back("writer-0", pid)
    page = eventually(
        lambda: page if (page := page_of(node))["hseie_process_restarts_total"] else None, "the restart is counted"
    )
    assert page["hseie_process_restarts_total"] == 1
    assert page["hseie_process_last_exit_code"] == -9


def test_the_acceptors_pass_the_wish_for_a_format_on(node: Node) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = node.call("GET", "/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith(b"# EOF\n")
