"""The metrics: named by the rules, shown as declared, described in docs/METRICS.md, and used by the alert rules."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from hseie.analytics.exposition import page, sort_out
from hseie.answers import Check
from hseie.histogram import READINGS, SECONDS, Histogram
from hseie.metric_types import SOURCES, Metric
from hseie.metrics import METRICS
from hseie.metrics_document import document

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "config" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}

LABELS = {"process", "shard", "kind", "code", "reason", "outcome", "state", "version", "postgres"}
BY_NAME = {metric.name: metric for metric in METRICS}
# What the name of a sample may add to that of its metric.
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def sample_names(metric: Metric) -> list[str]:
    return [metric.name + suffix for suffix in SUFFIXES.get(metric.type, ("",))]


def value_for(metric: Metric, number: int) -> Any:
    if metric.type == "histogram":
        histogram = Histogram(metric.bounds)
        for value in (0.0, metric.bounds[1], metric.bounds[-1] + 1, float(number)):
            histogram.observe(value)
        return histogram.report()
    return metric.names[0] if metric.type == "states" else number


def put(report: dict[str, Any], metric: Metric, value: Any) -> None:
    """Set what the metric shows; a member that is left open is called `some`."""
    *way, last = ["some" if part.startswith("{") else part for part in metric.path.split(".")]
    for part in way:
        report = report.setdefault(part, {})
    report[last] = value


def full_answer() -> dict[str, Any]:
    """A supervisor's answer in which every metric has a value of its own: its number in the list."""
    row = {"name": "writer-0", "role": "writer", "state": "ready", "stats": {"shard": 3}}
    rows = [row, *({"name": f"{role}-0", "role": role, "state": "down", "stats": {}} for role in list(SOURCES)[2:])]
    node: dict[str, Any] = {"version": "1.2.3", "postgres": "external"}
    for number, metric in enumerate(METRICS):
        if metric.type == "info":
            continue
        if metric.source == "node":
            put(node, metric, value_for(metric, number))
        elif metric.source == "process" and metric.path not in ("up", "state"):
            put(row, metric, value_for(metric, number))
        for one in rows:
            if one["role"] == metric.source:
                put(one["stats"], metric, value_for(metric, number))
    return {"node": node, "processes": rows}


def text_of(answer: dict[str, Any] | None, *checks: Check, accept: str = "") -> str:
    return page(sort_out(answer, checks), accept)[0].decode()


def samples_of(text: str) -> Samples:
    found: Samples = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice on the page: {key}"
            found[key] = sample.value
    return found


# --- the declarations -------------------------------------------------------------------------------------------------


def test_no_name_stands_twice() -> None:
    names = [name for metric in METRICS for name in sample_names(metric)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_follows_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"hseie(_[a-z]+)+", metric.name)
    assert metric.source in SOURCES
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.name.endswith("_info") == (metric.type == "info")
    assert metric.name.endswith("_state") == (metric.type == "states")
    assert not metric.name.endswith(("_bucket", "_sum", "_count", "_ms", "_milliseconds", "_kilobytes", "_percent"))
    assert set(metric.labels) <= LABELS
    assert len(metric.labels) == len(set(metric.labels))
    assert metric.meaning.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_units_are_base_units_and_stand_last(metric: Metric) -> None:
    name, field = metric.name.removesuffix("_total"), metric.path.split(".")[-1]
    in_seconds = field.endswith(("_s", "_ms", "seconds", "_at")) or field in ("at", "loop_lag")
    assert name.endswith(("_seconds", "_per_second")) == in_seconds
    assert (metric.scale == 0.001) == field.endswith("_ms")
    assert ("bytes" in name) == ("bytes" in field)
    assert "bytes" not in name or name.endswith(("_bytes", "_bytes_per_second"))
    if metric.type == "histogram":
        assert metric.bounds in (SECONDS, READINGS)
        assert list(metric.bounds) == sorted(set(metric.bounds))


def test_a_limit_says_what_it_is_the_limit_of_and_what_happens_at_it() -> None:
    for metric in METRICS:
        if metric.path.startswith("limits."):
            assert metric.type == "gauge"
            assert metric.meaning.startswith("Limit: ")
            assert re.search(r"`[a-z]+\.[a-z_]+`|\(`[a-z_/]+\.py`\)", metric.meaning)


def test_every_limit_of_the_architecture_has_a_metric() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.split("\n## Limits\n")[1].split("\n## ")[0]
    keys = set(re.findall(r"`((?:http|ingest|writer|postgres)\.[a-z_]+)`", table))
    assert len(keys) > 10
    meanings = " ".join(metric.meaning for metric in METRICS)
    without = {key for key in keys if f"`{key}`" not in meanings}
    assert without == set(), "declare the limit in hseie/metrics.py or metrics_writer.py, and report it in `limits`"


def test_the_document_is_made_of_the_declarations() -> None:
    kept = (ROOT / "docs" / "METRICS.md").read_text(encoding="utf-8")
    assert kept == document(), "run `make docs`"
    assert all(f"| `{metric.name}` |" in kept for metric in METRICS)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_every_metric_is_shown_with_its_help_its_type_and_its_value() -> None:
    text = text_of(full_answer(), Check(name="postgres", ok=True, detail=""))
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    found = samples_of(text)
    types = {"states": "gauge", "info": "gauge"}
    for number, metric in enumerate(METRICS):
        family = families[metric.name.removesuffix("_total")]
        assert family.documentation == metric.meaning
        assert family.type == types.get(metric.type, metric.type)
        assert family.samples, metric.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), metric.name
        if metric.type in ("gauge", "counter") and metric.path not in ("up", "supervisor_up", "postgres_up", "ready"):
            assert [sample.value for sample in family.samples] == [pytest.approx(number * metric.scale)], metric.name
    assert found["hseie_node_info", frozenset({("version", "1.2.3"), ("postgres", "external")})] == 1
    assert found["hseie_writer_epoch", frozenset({("shard", "3")})] == METRICS.index(BY_NAME["hseie_writer_epoch"])


def test_a_histogram_is_shown_in_rising_counts() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.1, 0.5, 1.0, 7.0, 0.0):
        histogram.observe(value)
    assert histogram.report() == {"counts": [2, 2, 1], "sum": pytest.approx(8.6)}
    metric = BY_NAME["hseie_writer_journal_sync_seconds"]
    sync = Histogram(metric.bounds)
    for value in (0.0005, 0.0006, 0.2, 99.0):
        sync.observe(value)
    found = samples_of(text_of(_with_writer(sync_seconds=sync.report())))
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == f"{metric.name}_bucket"}
    assert (buckets["0.0005"], buckets["0.001"], buckets["0.1"], buckets["0.25"]) == (1, 2, 2, 3)
    assert (buckets["60.0"], buckets["+Inf"]) == (3, 4)
    shard = frozenset({("shard", "3")})
    assert (found[f"{metric.name}_count", shard], found[f"{metric.name}_sum", shard]) == (4, pytest.approx(99.2011))


def _with_writer(**stats: Any) -> dict[str, Any]:
    row = {
        "name": "writer-3",
        "role": "writer",
        "state": "ready",
        "heartbeat_age_ms": 5,
        "stats": {"shard": 3, **stats},
    }
    return {"node": {"state": "ready"}, "processes": [row]}


def test_of_several_states_one_is_1_and_one_that_nobody_declared_is_shown_too() -> None:
    def states(value: str) -> dict[str, float]:
        found = samples_of(text_of(_with_writer(journal=value)))
        name = "hseie_writer_journal_state"
        return {dict(labels)["state"]: value for (sample, labels), value in found.items() if sample == name}

    declared = dict.fromkeys(BY_NAME["hseie_writer_journal_state"].names, 0.0)
    assert states("full") == {**declared, "full": 1.0}
    assert states("upside_down") == {**declared, "upside_down": 1.0}
    assert states("") == declared


@pytest.mark.parametrize(
    "answer",
    [
        {"node": {}, "processes": []},
        {"node": {"state": "starting"}, "processes": [{"name": "writer-0", "role": "writer", "state": "down"}]},
        {"node": {}, "processes": [{"name": "writer-0", "role": "writer", "state": "starting", "stats": {}}]},
        _with_writer(journal_bytes=None, sync_seconds={}, kinds={}, flush_seconds={"counts": [1], "sum": 1}, epoch="x"),
        {"node": {}, "processes": [{"name": "migrate", "role": "migrate", "state": "ready", "stats": {"rounds": 1}}]},
    ],
)
def test_what_is_not_there_yet_is_left_out(answer: dict[str, Any]) -> None:
    found = samples_of(text_of(answer))
    assert not [name for name, _ in found if name.startswith(("hseie_writer_journal_sync", "hseie_writer_flush"))]
    assert found["hseie_node_supervisor_up", frozenset()] == 1


def test_figures_of_a_former_life_are_not_shown_as_zero() -> None:
    """The supervisor's row of a process that is down has zeros for what only a heartbeat can tell."""
    row = {"name": "writer-0", "role": "writer", "state": "down", "restarts": 4, "rss_bytes": 0, "cpu_s": 0.0}
    row |= {"heartbeat_age_ms": None, "uptime_s": 0.0, "stats": {}, "last_exit": {"code": -9, "text": "", "at": 17.0}}
    found = samples_of(text_of({"node": {}, "processes": [row]}))
    process = frozenset({("process", "writer-0")})
    assert found["hseie_process_up", process] == 0
    assert found["hseie_process_restarts_total", process] == 4
    assert found["hseie_process_last_exit_code", process] == -9
    assert ("hseie_process_cpu_seconds_total", process) not in found
    assert ("hseie_process_resident_memory_bytes", process) not in found


def test_without_a_supervisor_the_page_says_so() -> None:
    postgres = Check(name="postgres", ok=False, detail="not reachable")
    found = samples_of(text_of(None, postgres, Check(name="supervisor", ok=False, detail="does not answer")))
    assert found == {
        ("hseie_node_supervisor_up", frozenset()): 0,
        ("hseie_node_postgres_up", frozenset()): 0,
        ("hseie_node_ready", frozenset()): 0,
    }


def test_two_processes_of_one_name_make_one_series() -> None:
    """One drains while its successor starts."""
    answer = _with_writer(epoch=1)
    answer["processes"].append({**answer["processes"][0], "stats": {"shard": 3, "epoch": 2}})
    assert samples_of(text_of(answer))["hseie_writer_epoch", frozenset({("shard", "3")})] == 2


def test_the_format_is_the_one_asked_for() -> None:
    reports = sort_out(full_answer(), [])
    plain, plain_type = page(reports, "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
    assert plain_type == "text/plain; version=0.0.4; charset=utf-8"
    assert page(reports, "") == (plain, plain_type)
    body, kind = page(reports, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    text = body.decode()
    assert text.endswith("# EOF\n")
    # Its parser is strict: units, suffixes, the order of buckets, states.
    assert {family.name for family in parse_openmetrics(text)} == {
        metric.name.removesuffix("_total").removesuffix("_info") for metric in METRICS
    }


# --- the alert rules --------------------------------------------------------------------------------------------------


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bhseie_[a-z_]+", text))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_uses_declared_metrics_and_says_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    samples = {name: metric for metric in METRICS for name in sample_names(metric)}
    assert re.fullmatch(r"Hseie[A-Za-z]+", alert)
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    texts = [rule["expr"], rule["annotations"]["summary"]]
    assert names_in(" ".join(texts)) <= samples.keys()
    for name, label, _, values in re.findall(r'(hseie_\w+)\{(\w+)(=~?)"([^"]+)"', rule["expr"]):
        assert label in samples[name].labels
        if samples[name].type == "states":
            assert set(values.split("|")) <= set(samples[name].names)
    runbook = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")
    heading = rule["annotations"]["runbook"]
    for state in ("schema", "refusing") if "$labels.state" in heading else ("",):
        assert f"\n## {heading.replace('{{ $labels.state }}', state)}\n" in runbook


def test_there_is_an_alert_for_what_endangers_readings() -> None:
    used = names_in(" ".join(rule["expr"] for rule in ALERTS.values()))
    assert used >= {
        "hseie_node_postgres_up", "hseie_process_restarts_total", "hseie_writer_journal_bytes",
        "hseie_writer_journal_state", "hseie_writer_dead_letters_total", "hseie_writer_database_state",
        "hseie_writer_journal_sync_seconds_bucket", "hseie_acceptor_ack_seconds_bucket",
        "hseie_writer_journal_disk_free_bytes",
    }  # fmt: skip
    assert "up{" in ALERTS["HseieDown"]["expr"]
