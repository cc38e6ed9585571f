"""The page of metrics: what the declarations find in the node's snapshot, in Prometheus' words.

The only importer of prometheus_client, of which no more is used than its exposition: counting is done by those who
report, in numbers that travel with their heartbeats. Each page is made of one snapshot.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from hseie.answers import Check
from hseie.metric_types import SOURCES, Metric
from hseie.metrics import METRICS

# What the snapshot says of a process without a heartbeat in its present life is only that it has none.
_OF_A_HEARTBEAT = frozenset(("heartbeat_age_ms", "rss_bytes", "cpu_s", "open_files", "open_files_max", "loop_lag"))

# Per source (hseie.metric_types), the reports there are, each with the values of the labels that tell it apart.
Reports = Mapping[str, Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]]


def page(reports: Reports, accept: str) -> tuple[bytes, str]:
    """Return body and content type of the page, in the format that the `Accept` header asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(reports))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def sort_out(answer: Mapping[str, Any] | None, checks: Sequence[Check]) -> Reports:
    """Return the reports of the supervisor's snapshot (None where it does not answer) and of the health checks."""
    ok = {check.name: check.ok for check in checks}
    seen = {"ready": all(ok.values()), "postgres_up": ok.get("postgres"), "supervisor_up": answer is not None}
    reports: dict[str, list[tuple[tuple[str, ...], Mapping[str, Any]]]] = {source: [] for source in SOURCES}
    reports["node"].append(((), {**(answer["node"] if answer is not None else {}), **seen}))
    for row in answer["processes"] if answer is not None else ():
        beats = row.get("heartbeat_age_ms") is not None
        figures = {name: value for name, value in row.items() if beats or name not in _OF_A_HEARTBEAT}
        reports["process"].append(((row["name"],), {**figures, "up": row["state"] == "ready"}))
        stats = row.get("stats") or {}
        if row["role"] == "writer":
            if "shard" in stats:
                reports["writer"].append(((str(stats["shard"]),), stats))
        elif row["role"] in SOURCES:
            reports[row["role"]].append(((row["name"],), stats))
    return reports


class _NodeCollector(Collector):
    """Gives prometheus_client the metrics of one moment."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            # By labels: of two processes of one name (one drains, its successor starts) the later one is shown.
            values = {
                (*own, *found): value
                for own, report in self._reports[metric.source]
                for found, value in metric.find(report)
            }
            yield _family(metric, values)


def _family(metric: Metric, values: Mapping[tuple[str, ...], Any]) -> Family:
    """Return a metric with all its series. What has not the form that its type asks for is left out."""
    if metric.type == "info":
        return _info(metric, values)
    if metric.type == "histogram":
        return _histogram(metric, values)
    if metric.type == "states":
        return _states(metric, values)
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.type == "counter":
        family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.meaning, labels=metric.labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        if isinstance(value, int | float):
            family.add_metric(labels, value * metric.scale)
    return family


def _histogram(metric: Metric, values: Mapping[tuple[str, ...], Any]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    bounds = [*map(str, metric.bounds), "+Inf"]
    for labels, value in values.items():
        counts = value.get("counts", ())
        if len(counts) == len(bounds):
            family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), value["sum"])
    return family


def _states(metric: Metric, values: Mapping[tuple[str, ...], Any]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        # One that nobody declared is shown all the same. Empty says that none of them holds.
        for name in dict.fromkeys((*metric.names, *([value] if value else []))):
            family.add_metric((*labels, name), float(name == value))
    return family


def _info(metric: Metric, values: Mapping[tuple[str, ...], Any]) -> Family:
    family = InfoMetricFamily(metric.name.removesuffix("_info"), metric.meaning)
    for value in values.values():
        if all(name in value for name in metric.names):
            family.add_metric((), {name: str(value[name]) for name in metric.names})
    return family
