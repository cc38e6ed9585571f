"""A node that goes through one fault after the other, and the ledger of all that was sent to it meanwhile."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hseie import database
from hseie.control import ask_snapshot, run_dir_of
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, Stored, device_of, meter, prove_nothing_lost
from tests.system.node import Answer, Node, eventually

# Of each device, readings that were stored in another order than that of their times.
OUT_OF_ORDER = """
    SELECT count(*) FROM (
        SELECT "timestamp" < lag("timestamp") OVER (PARTITION BY {kind}_id ORDER BY id) AS is_late FROM {kind}_history
    ) AS rows WHERE is_late
"""
# What a fleet sends whose readings can be held against OUT_OF_ORDER.
ORDERLY = {"late_share": 0.0, "repeat_share": 0.0, "malformed_share": 0.0}

# How long a run lasts that can be lengthened; see `minutes` in conftest.py.
LONG = pytest.mark.timeout(300 + 120 * float(os.environ.get("HSEIE_FAULT_MINUTES") or 0))


@dataclass
class Outcome:
    """The summary of a fleet, once it has ended."""

    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def statuses(self) -> dict[str, int]:
        """How often each status was answered."""
        found: dict[str, int] = self.summary["statuses"]
        return found


class Session:
    """Somebody else's connection, with a transaction that is not ended yet."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._run(database.connect(url, "somebody else", 5))
        self._transaction = self._connection.transaction()
        self._run(self._transaction.start())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def execute(self, statement: str, *arguments: Any) -> Any:
        """The first value of its first row."""
        return self._run(self._connection.fetchval(statement, *arguments))

    def commit(self) -> None:
        self._run(self._transaction.commit())

    def end(self) -> None:
        """What was not committed is rolled back."""
        self._run(database.close(self._connection))
        self._loop.close()


class Scene:
    """One node with two shards, through all its faults; each ends with `prove`."""

    def __init__(self, stage: Stage, node: Node) -> None:
        self.stage = stage
        self.node = node
        self.ledger = Ledger()
        self.dsn = node.dsn()
        self._loads = 0

    @contextmanager
    def load(self, *also: str, **options: str | float) -> Iterator[Outcome]:
        """A fleet of devices that no other fleet here has, for as long as this lasts; `also`: statuses it may see.

        What it knows is taken over also when the test has failed, so that the next one finds the ledger whole.
        """
        self._loads += 1
        name, first = f"load-{self._loads}", 1 + 20_000 * (self._loads - 1)
        load = self.stage.load(self.node, name, **({"first_device": first} | options))
        outcome = Outcome()
        eventually(load.ledger_file.exists, "the fleet has begun")
        try:
            yield outcome
        finally:
            outcome.summary = load.stop()
            self.ledger.read(load.ledger_file)
        assert set(outcome.statuses) <= {"202", "400", "503", *also}, outcome.statuses
        assert outcome.summary["unknown"] == 0, outcome.summary

    def probe(self, shard: int, **headers: str) -> Answer:
        """The answer to a reading of a device of a shard, which is noted."""
        reading = meter(device_of(shard, 2, "probe"))
        answer = self.node.post("meter", reading, **headers)
        assert answer.status in (201, 202) or answer.headers.get("Retry-After"), answer
        self.note([reading], answer)
        return answer

    def note(self, readings: list[Reading], answer: Answer) -> None:
        self.ledger.note("meter", readings, promised=answer.status in (201, 202))

    def prove(self) -> Stored:
        """Ready again, the whole oracle, and no traceback for an operator to puzzle over."""
        eventually(self.node.is_ready, "the node is ready again")
        assert self.said("stray_exception") == self.said("crashed") == []
        return prove_nothing_lost(self.node, self.ledger)

    @contextmanager
    def somebody(self) -> Iterator[Session]:
        """Somebody who works on the same database for as long as this lasts."""
        session = Session(self.dsn)
        try:
            yield session
        finally:
            session.end()

    def until_flushed(self) -> None:
        """Wait until both shards have brought a fresh reading into PostgreSQL: flushes go on."""
        for shard in (0, 1):
            eventually(lambda shard=shard: self.probe(shard, Prefer="wait").status == 201, "flushes go on")

    def until_database(self, *states: str, patience_s: float = 60.0) -> None:
        """Wait until both writers say one of these of PostgreSQL."""
        for shard in (0, 1):
            eventually(lambda shard=shard: self.writer(shard)["database"] in states, f"{states}", patience_s)

    def sql(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement."""

        async def work(connection: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]

        return asyncio.run(database.with_connection(self.dsn, "fault tests", work))

    def processes(self) -> dict[str, dict[str, Any]]:
        """The processes by name, asked where `hseie status` asks, without a command each time."""
        rows = asyncio.run(ask_snapshot(run_dir_of(self.node.data), 20))["processes"]
        return {row["name"]: row for row in rows}

    def writer(self, shard: int = 0) -> dict[str, Any]:
        """The figures of a writer."""
        stats: dict[str, Any] = self.processes()[f"writer-{shard}"]["stats"]
        return stats

    def waiting(self) -> int:
        """Readings that are in the journals and not in PostgreSQL."""
        kinds = [kind for shard in (0, 1) for kind in self.writer(shard)["kinds"].values()]
        return sum(kind["waiting"] + kind["active"] for kind in kinds)

    def said(self, event: str) -> list[str]:
        """The lines of the node's log with an event."""
        return [line for line in self.node.tail(100_000).splitlines() if f'"event":"{event}"' in line]

    def out_of_order(self, kind: str = "meter") -> int:
        return int(self.sql(OUT_OF_ORDER.format(kind=kind))[0][0])
