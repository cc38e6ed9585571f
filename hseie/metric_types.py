"""What a declaration of a metric says, and how its values are found in what a process reports. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hseie.histogram import SECONDS

MS = 0.001  # a report's milliseconds as the page's seconds

# Whose report a metric is read from is the second word of its name: what that is, in the order of the page, and the
# label that tells several of them apart.
SOURCES: dict[str, tuple[str, str]] = {
    "node": ("The node", ""),
    "process": ("Every process, the embedded PostgreSQL among them", "process"),
    "acceptor": ("Acceptors", "process"),
    "writer": ("Writers", "shard"),
    "analytics": ("Analytics", "process"),
    "maintenance": ("Maintenance", "process"),
}


@dataclass(frozen=True)
class Metric:
    """One metric.

    `path` leads through the report, members parted by dots; a member in braces stands for all of them, and is the name
    of the label that holds theirs. What is found there is multiplied by `scale`. `names` are the possible values of a
    text, each of which becomes a series of 0 or 1 (type "states"), or the members that become labels (type "info").
    """

    type: Literal["counter", "gauge", "histogram", "states", "info"]
    name: str
    path: str
    meaning: str
    scale: float = 1.0
    names: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def source(self) -> str:
        return self.name.split("_")[1]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its labels: who reports, what the path leaves open, and what `names` adds."""
        own = SOURCES[self.source][1]
        found = [own] if own else []
        found += [part[1:-1] for part in self.path.split(".") if part.startswith("{")]
        found += {"states": ["state"], "info": list(self.names)}.get(self.type, [])
        return tuple(found)

    def find(self, report: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield the values in a report that stand at `path`, each with what the path leaves open."""
        return _find(report, self.path.split(".") if self.path else [], ())


def _find(value: Any, path: list[str], labels: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not path:
        if value is not None:
            yield labels, value
    elif isinstance(value, Mapping):
        if path[0].startswith("{"):
            for name, inner in value.items():
                yield from _find(inner, path[1:], (*labels, str(name)))
        elif path[0] in value:
            yield from _find(value[path[0]], path[1:], labels)


def counter(name: str, path: str, meaning: str) -> Metric:
    return Metric("counter", name, path, meaning)


def gauge(name: str, path: str, meaning: str, scale: float = 1.0) -> Metric:
    return Metric("gauge", name, path, meaning, scale)


def histogram(name: str, path: str, meaning: str, bounds: tuple[float, ...] = SECONDS) -> Metric:
    return Metric("histogram", name, path, meaning, bounds=bounds)


def states(name: str, path: str, meaning: str, *names: str) -> Metric:
    return Metric("states", name, path, meaning, names=names)
