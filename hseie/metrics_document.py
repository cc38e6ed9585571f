"""docs/METRICS.md, made from the declarations: `python -m hseie.metrics_document`, or `make docs`."""

import sys

from hseie.metric_types import SOURCES, Metric
from hseie.metrics import METRICS


def document() -> str:
    """Return docs/METRICS.md."""
    lines = [
        "# Metrics",
        "",
        "Made by `make docs` from the declarations in `hseie/metrics.py`; a test compares the two.",
        "",
        "`GET /metrics`, on the node's port and on that of analytics, shows the whole node in Prometheus' text format,",
        "or in OpenMetrics where `Accept` asks for it. The figures come with the heartbeats of the processes: they are",
        "up to `supervisor.heartbeat_ms` old, and a counter begins anew with its process. While PostgreSQL is away the",
        "page answers and says so; while analytics is down there is no page, and Prometheus' own `up` is 0. A row that",
        "begins with “Limit” is the bound of the row above it, or of what it names. Rules for alerts that use these",
        "metrics stand in `config/prometheus/alerts.yml`.",
    ]
    for source, (title, _) in SOURCES.items():
        lines += ["", f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for metric in METRICS:
            if metric.source == source:
                lines.append(f"| `{metric.name}` | {_type(metric)} | {_labels(metric)} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


def _type(metric: Metric) -> str:
    return {"states": "gauge, 0 or 1", "info": "gauge, 1"}.get(metric.type, metric.type)


def _labels(metric: Metric) -> str:
    labels = [f"`{label}`" for label in metric.labels]
    if metric.type == "states":
        labels[-1] += f" ({', '.join(metric.names)})"
    return ", ".join(labels)


if __name__ == "__main__":
    sys.stdout.write(document())
