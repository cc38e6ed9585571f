"""kill -9 of maintenance at every step of archiving, while readings of old days go on coming."""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hseie.archive import Archive
from tests.faults.conftest import faults_at, mark_of, until_restarted
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, device_of, meter, prove_nothing_lost
from tests.system.node import Node, eventually

POINTS = ("in_copy", "file_written", "file_named", "noted", "before_drop", "after_drop")
IN_HISTORY = " UNION ALL ".join(
    f"SELECT count(*) FROM {kind}_history WHERE timestamp < now() - interval '4 days'" for kind in ("meter", "vehicle")
)


def old_days() -> list[str]:
    today = datetime.now(UTC).date()
    return [str(today - timedelta(days=days)) for days in (5, 6, 7, 8)]


def send(node: Node, ledger: Ledger, day: str, number: int) -> None:
    """Some readings of an old day, of times that none had before, committed."""
    times = [f"{day}T{number // 60:02}:{number % 60:02}:{second:02}.000Z" for second in range(20)]
    bodies: dict[str, list[Reading]] = {
        "meter": [meter(device_of(shard, 2, "old"), time=at) for shard in (0, 1) for at in times],
        "vehicle": [
            {"vehicleId": "old", "soc": 50.0, "kwhDeliveredDc": 1.5, "batteryTemp": -3.25, "timestamp": at}
            for at in times
        ],
    }
    for kind, body in bodies.items():
        answer, _ = node.deliver(kind, body, Prefer="wait")
        assert answer.status == 201, answer
        ledger.note(kind, body)


def listed(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.command("archive", "list", "--json").stdout)["parts"]
    return found


@pytest.mark.timeout(300)
def test_every_reading_is_in_one_place_afterwards(
    stage: Stage, marks: Path, new_database: Callable[[], str], tmp_path: Path
) -> None:
    if not Archive(tmp_path, 64).available and os.environ.get("CI") != "true":
        pytest.skip("DuckDB is not installed: the extra `archive`")
    rules = [f"maintenance/archive.{point}:kill" for point in POINTS]
    node = stage.node(
        DATABASE_URL=new_database(),
        HSEIE_MAINTENANCE__INTERVAL_S="0.3",
        HSEIE_MAINTENANCE__ROLLUP_INTERVAL_S="0.3",
        HSEIE_RETENTION__RAW_DAYS="3",
        HSEIE_ANALYTICS__STATEMENT_TIMEOUT_MS="200",  # eight times as long is the pause before a day is dropped
        HSEIE_SUPERVISOR__RESTART_RESET_MS="100",
        **faults_at(marks, *rules),
    ).start()
    ledger = Ledger()
    send(node, ledger, str(datetime.now(UTC).date()), 0)  # by which the others are old
    number = 0
    deadline = time.monotonic() + 150
    while not all(mark_of(marks, rule).exists() for rule in rules):
        assert time.monotonic() < deadline, sorted(path.name for path in marks.iterdir())
        send(node, ledger, old_days()[number % 4], number)
        number += 1
        time.sleep(1 if number <= 8 else 3)
    until_restarted(node, "maintenance", len(POINTS))
    send(node, ledger, old_days()[0], number)
    eventually(lambda: node.sql(IN_HISTORY) == [(0,), (0,)], "all old days have left PostgreSQL", 60)
    parts = listed(node)
    print(f"{number + 1} times 60 readings in {len(parts)} parts")
    assert {part["state"] for part in parts} == {"archived"}
    assert sum(part["readings"] for part in parts) == 60 * (number + 1)
    assert node.audit()["differences"] == []
    verified = node.command("archive", "verify")
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (
        0,
        f"{len(parts)} files read, 0 damaged or missing.",
    )
    folder = node.data / "archive"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"archive.id"} | {part["file"] for part in parts}  # nothing is left of those who were killed
    for day in old_days():
        done = node.command("archive", "restore", day)
        assert done.returncode == 0, done.stdout + done.stderr
    prove_nothing_lost(node, ledger)
