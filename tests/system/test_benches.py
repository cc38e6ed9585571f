"""The benches of analytics run, with a small fleet: what they measure is for README, that they work is for here."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.system.node import clean_environ

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "bench" / "analytics.py"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=clean_environ(), timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_day(tmp_path: Path) -> None:
    results = tmp_path / "day.json"
    said = bench("day", "--scale", "0.001", "--seconds", "1", "--json", str(results))
    found = json.loads(results.read_text())
    assert "books: balanced" in said
    assert len(found["closing_s"]) == 5
    assert found["received_per_s"] > 0
    for state in ("quiet", "ingest"):
        assert set(found[state]["performance"]["statuses"]) == {"200"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_days_that_go_to_the_archive_and_the_plot(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    bench("billion", *data, "--scale", "0.0003", "--days", "2", "--kept-days", "1", "--seconds", "2", "--colds", "0")
    found = json.loads((tmp_path / "data" / "billion.json").read_text())
    assert found["archive"]["readings"] > 8000
    assert set(found["lengths"]) == {"1", "2"}
    assert all(question["warm_ms"] for question in found["whole"].values())
    plot = tmp_path / "plot.svg"
    said = bench("length", *data, "--plot", str(plot))
    assert "| the current state |" in said
    assert ElementTree.fromstring(plot.read_text()).tag.endswith("svg")


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "bench" / "analytics.py"),
        "billion",
        "--data",
        str(tmp_path),
        "--scale",
        "1000",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode != 0
    assert "Choose another --data or a smaller --scale" in done.stderr
