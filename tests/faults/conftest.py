"""The stage of the system tests, for nodes to which something is done; and how long the long runs last."""

import os
from pathlib import Path

import pytest

from tests.system.conftest import module_stage, new_database, own_server, seed, stage

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
