"""The stage of the system tests, for nodes to which something is done; and how long the long runs last."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import module_stage, new_database, own_server, seed, stage
from tests.system.node import Node, eventually

__all__ = ["module_stage", "new_database", "own_server", "seed", "stage"]  # fixtures, found by their names


@pytest.fixture(scope="session")
def minutes() -> float:
    """How long each run that can be lengthened lasts: HSEIE_FAULT_MINUTES (`make faults MINUTES=20`); 0 is the short
    form of `make test`.
    """
    return float(os.environ.get("HSEIE_FAULT_MINUTES") or 0)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """A folder for HSEIE_FAIL_MARKS: each failpoint fires once in the life of a node, and leaves its file here."""
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def faults_at(marks: Path, *rules: str) -> dict[str, str]:
    """The environment of a node that arms these failpoints, each once in its life."""
    return {"HSEIE_FAIL": ",".join(rules), "HSEIE_FAIL_MARKS": str(marks)}


def mark_of(marks: Path, rule: str) -> Path:
    """The file that a rule leaves when it has fired."""
    process, _, point = rule.partition(":")[0].rpartition("/")
    return marks / f"{process or 'any'} {point}"


def until_fired(marks: Path, rules: Iterable[str]) -> list[Path]:
    """Wait until every rule has fired; the marks in the order in which they did."""
    files = [mark_of(marks, rule) for rule in rules]
    eventually(lambda: all(file.exists() for file in files), f"all of {[file.name for file in files]} have happened")
    return sorted(files, key=lambda file: file.stat().st_mtime)


def until_restarted(node: Node, name: str, times: int) -> None:
    """Wait until a process is ready in its life after so many restarts."""

    def settled() -> bool:
        row = node.processes()[name]
        return row["restarts"] >= times and row["state"] == "ready"

    eventually(settled, f"{name} is ready after restart {times}")


def log_of(node: Node, event: str, **fields: Any) -> list[dict[str, Any]]:
    """The lines of a node's log about an event, in order."""
    lines = [json.loads(line) for line in node.tail(100_000).splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event and fields.items() <= line.items()]
