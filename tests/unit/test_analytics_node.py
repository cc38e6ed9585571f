"""What analytics concludes from the supervisor's snapshot: readiness, queues, the fate of a job."""

from collections import deque
from typing import Any

import pytest

from hseie.analytics.fleet import rate
from hseie.analytics.health import process_checks
from hseie.analytics.kept import Kept, keep_s
from hseie.analytics.node import NodeView, Snapshot, read_snapshot
from hseie.analytics.receipts import job_fate, queue_counts
from hseie.errors import NotReachableError


def _writer(shard: int, state: str = "ready", **stats: Any) -> dict[str, Any]:
    kinds = {"meter": {"waiting": 3, "active": 1}, "vehicle": {"waiting": 0, "active": 0}}
    figures = {"shard": shard, "journal_seq": 50, "database": "ok", "journal": "ok", "kinds": kinds, **stats}
    return {"name": f"writer-{shard}", "role": "writer", "state": state, "stats": figures}


def _snapshot(*processes: dict[str, Any], state: str = "ready") -> Snapshot:
    acceptor = {"name": "acceptor-0", "role": "acceptor", "state": "ready", "stats": {}}
    return read_snapshot({"node": {"state": state}, "processes": [acceptor, *processes]})


def _failed(snapshot: Snapshot) -> set[str]:
    return {check.name for check in process_checks(snapshot, 2) if not check.ok}


def test_all_is_well() -> None:
    assert _failed(_snapshot(_writer(0), _writer(1))) == set()


@pytest.mark.parametrize(
    ("snapshot", "failed"),
    [
        (_snapshot(_writer(0)), {"writer-1"}),
        (_snapshot(_writer(0), _writer(1, "starting")), {"writer-1"}),
        (_snapshot(_writer(0), {"name": "writer-1", "role": "writer", "state": "down", "stats": {}}), {"writer-1"}),
        (_snapshot(_writer(0), _writer(1, journal="full")), {"journal-1"}),
        (_snapshot(_writer(0), _writer(1, journal="disk_full")), {"journal-1"}),
        (_snapshot(_writer(0), _writer(1, journal="stuck")), {"journal-1"}),
        (_snapshot(_writer(0), _writer(1, journal="slow")), set()),  # it still serves
        (_snapshot(_writer(0), _writer(1), state="draining"), {"node"}),
        (read_snapshot({"node": {"state": "ready"}, "processes": [_writer(0), _writer(1)]}), {"acceptors"}),
        # Devices are still served while the database is away; the check of PostgreSQL tells of that.
        (_snapshot(_writer(0), _writer(1, database="away")), set()),
    ],
)
def test_what_makes_a_node_unready(snapshot: Snapshot, failed: set[str]) -> None:
    assert _failed(snapshot) == failed


def test_a_slow_disk_is_told_without_making_the_node_unready() -> None:
    checks = process_checks(_snapshot(_writer(0, journal="slow", sync_ms=210.4, sync_under_way_ms=30), _writer(1)), 2)
    assert [check.name for check in checks if check.degraded] == ["journal-0"]
    assert any("a sync takes 210 ms" in check.detail for check in checks)


def test_queues_add_up_over_the_shards() -> None:
    book = {"received": 99, "stored": 80, "duplicates": 10, "dead_lettered": 2}
    counts = queue_counts("meter", _snapshot(_writer(0), _writer(1)), book)
    assert (counts.waiting, counts.active, counts.completed, counts.failed) == (6, 2, 90, 2)
    counts = queue_counts("meter", _snapshot(), None)
    assert (counts.waiting, counts.active, counts.completed, counts.failed) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("sequence", "committed", "processes", "fate"),
    [
        (40, 40, [_writer(0)], "stored"),
        (41, 40, [_writer(0)], "queued"),
        (50, None, [_writer(0)], "queued"),
        (51, 40, [_writer(0)], "unknown"),
        # Between the end of an older journal and the start of the writer's.
        (35, 30, [_writer(0, committed_seq=40)], "unknown"),
        (41, 40, [_writer(1)], "unknown"),
        (41, 40, [{"name": "writer-0", "role": "writer", "state": "down", "stats": {}}], "unclear"),
        (40, 40, [], "stored"),
    ],
)
def test_the_fate_of_a_job(sequence: int, committed: int | None, processes: list[dict[str, Any]], fate: str) -> None:
    assert job_fate(0, sequence, committed, _snapshot(*processes)) == fate


async def test_one_question_serves_many() -> None:
    asked = 0

    async def ask() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"node": {"state": "ready"}, "processes": []}

    view = NodeView(ask)
    await view.snapshot()
    await view.snapshot()
    assert asked == 1


async def test_a_silent_supervisor_is_an_error_of_its_own() -> None:
    async def ask() -> dict[str, Any]:
        raise TimeoutError

    with pytest.raises(NotReachableError):
        await NodeView(ask).snapshot()


def test_the_rate_is_over_all_samples() -> None:
    assert rate(deque()) is None
    assert rate(deque([(0.0, 10)])) is None
    assert rate(deque([(0.0, 10), (5.0, 1010), (10.0, 3010)])) == 300.0


def test_dear_figures_are_kept_longer() -> None:
    assert keep_s(0.001) == 2.0
    assert keep_s(1.0) == 20.0
    assert keep_s(1000.0) == 600.0


async def test_a_failed_figure_is_not_kept() -> None:
    outcomes: list[Exception | int] = [ValueError("no"), 7]

    async def compute() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    kept = Kept(compute)
    with pytest.raises(ValueError, match="no"):
        await kept.value()
    assert [await kept.value(), await kept.value()] == [7, 7]
