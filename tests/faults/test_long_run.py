"""Everything at once for as long as wanted: full rate, and a fault every few seconds, drawn by chance.

    make faults MINUTES=20 ARGS="tests/faults/test_long_run.py -rP"

prints the faults, the ledger beside the tables, and the seed that draws the same faults again.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import large_ledger
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_fresh
from tests.system.node import Node, eventually

SHORT_S = 10.0
READY_WITHIN_S = 120.0

# By default at most a million readings a shard: at full rate half a minute, and a client comes back later than that.
SETTINGS = {
    "HSEIE_INGEST__DEDUPE_READINGS_MAX": "4000000",
    "HSEIE_WRITER__FLUSH_INTERVAL_MS": "50",
    "HSEIE_SUPERVISOR__RESTART_DELAY_MAX_MS": "1000",
}


class Faults:
    """What is done to a node; `count` says how often each was done."""

    def __init__(self, node: Node, draw: random.Random) -> None:
        self.count: Counter[str] = Counter()
        self._node = node
        self._draw = draw
        self._drawn: dict[str, tuple[int, Callable[[], None]]] = {
            "kill -9 of an acceptor": (4, lambda: self._kill("acceptor")),
            "kill -9 of a writer": (6, lambda: self._kill("writer")),
            "kill -9 of both writers": (2, self._kill_both_writers),
            "kill -9 of analytics": (1, lambda: self._kill("analytics")),
            "kill -9 of maintenance": (1, lambda: self._kill("maintenance")),
            "a writer stopped for seconds": (2, self._stop_a_writer),
            "kill -9 of PostgreSQL": (2, lambda: self._kill("postgres")),
            "PostgreSQL shut down immediately": (2, lambda: self._kill("postgres", signal.SIGQUIT)),
            "backends of writers terminated": (3, self._terminate_backends),
            "kill -9 of the supervisor": (2, self._kill_supervisor),
            "kill -9 of everything": (1, self._kill_everything),
        }

    def one(self) -> None:
        """Draw one and do it."""
        names = list(self._drawn)
        name = self._draw.choices(names, [self._drawn[name][0] for name in names])[0]
        self._drawn[name][1]()
        self.count[name] += 1

    def _pids(self, role: str) -> list[int]:
        return [pid for name, pid in self._node.children().items() if name.rpartition("-")[0] == role or name == role]

    def _kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> None:
        if pids := self._pids(role):
            with suppress(ProcessLookupError):
                os.kill(self._draw.choice(pids), number)

    def _kill_both_writers(self) -> None:
        for pid in self._pids("writer"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stop_a_writer(self) -> None:
        if pids := self._pids("writer"):
            pid = self._draw.choice(pids)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(self._draw.uniform(1, 8))
                os.kill(pid, signal.SIGCONT)

    def _terminate_backends(self) -> None:
        with suppress(Exception):  # PostgreSQL may be away because of the fault before
            self._node.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hseie writer%'"
            )

    def _kill_supervisor(self) -> None:
        self._node.kill_supervisor()
        self._node.start()

    def _kill_everything(self) -> None:
        assert self._node.process is not None
        for pid in [self._node.process.pid, *self._node.children().values()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._node.process.wait()
        self._node.process = None
        eventually(lambda: not self._node.postgres_pids(), "no process of its PostgreSQL is left", 30)
        self._node.start()


def waiting(node: Node) -> int:
    """Readings that are acknowledged and not committed."""
    queues = node.get("/v1/ingest/queue/stats").body
    return sum(queue["waiting"] + queue["active"] for name, queue in queues.items() if name.endswith("Queue"))


@pytest.mark.timeout(0)
def test_full_rate_with_faults_of_every_kind(stage: Stage, minutes: float, tmp_path: Path) -> None:
    draw = random.Random(stage.seed)
    node = stage.node(**SETTINGS).start()
    options = {"fast": True, "batch": 100, "concurrency": 16, "devices": 5000, "attempts": 1000, "timeout": 30}
    load = stage.load(node, malformed_share=0, **options)
    began = time.monotonic()
    faults = Faults(node, draw)
    while time.monotonic() - began < (minutes * 60 or SHORT_S):
        time.sleep(draw.uniform(1, 6 if minutes else 3))
        faults.one()
        if draw.random() < 0.7:  # else the next one hits a node that is still recovering
            eventually(node.is_ready, "the node is ready again", READY_WITHIN_S)
    eventually(node.is_ready, "the node is ready again", READY_WITHIN_S)
    summary = load.stop()
    took_s = time.monotonic() - began
    eventually(lambda: waiting(node) == 0, "everything acknowledged is committed", READY_WITHIN_S)
    outcome = asyncio.run(large_ledger.compare([load.ledger_file], node.dsn(), tmp_path))
    print(f"{took_s / 60:.1f} minutes, seed {stage.seed}; {faults.count.total()} faults:")
    for name, times in faults.count.most_common():
        print(f"  {times:5}  {name}")
    print(
        f"readings: {summary['readings']:,} sent; {outcome.acknowledged:,} times acknowledged, "
        f"{outcome.promised:,} different ones; {outcome.stored:,} stored; "
        f"{summary['duplicates']:,} recognised as re-sent; {summary['unknown']:,} of unknown outcome at the end; "
        f"{summary['retried']:,} requests sent again"
    )
    print("differences:", outcome.differences or "none")
    assert set(summary["statuses"]) <= {"202", "207", "503"}
    assert outcome.differences == []
    assert node.audit()["differences"] == []
    prove_fresh(node, Ledger(), 2)
