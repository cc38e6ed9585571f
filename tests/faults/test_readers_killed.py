"""kill -9 of those that are not in the way of a reading: analytics in a query, maintenance in its round."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hseie.database import with_connection
from tests.faults.conftest import faults_at, until_fired, until_restarted
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost
from tests.system.node import Answer, Node, eventually

QUERY = "/v1/ingest/meter/nobody/current"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'analytics%' AND wait_event_type = 'Lock'"
    " AND datname = current_database()"
)
FURTHEST = "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'meter_history'::regclass"


def kill_in_a_query(node: Node) -> Answer:
    """kill -9 of analytics while PostgreSQL works for it; the answer of whoever had asked."""
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(node.get(QUERY)))
    pid = node.children()["analytics"]

    async def work(connection: Any) -> None:
        async with connection.transaction():
            await connection.execute("LOCK TABLE meter_current IN ACCESS EXCLUSIVE MODE")
            asking.start()
            while not await connection.fetchval(WAITING):
                await asyncio.sleep(0.02)
                await connection.execute("SELECT pg_stat_clear_snapshot()")  # or it sees what it saw, to its end
            os.kill(pid, signal.SIGKILL)

    asyncio.run(with_connection(node.dsn(), "fault suite", work))
    asking.join(30)
    return answers[0]


def test_ingest_does_not_notice_and_the_work_is_resumed(
    stage: Stage, marks: Path, new_database: Callable[[], str]
) -> None:
    before_a_query, in_a_round = "analytics/analytics.query:kill@40", "maintenance/maintenance.round:kill@4"
    node = stage.node(
        DATABASE_URL=new_database(),
        HSEIE_MAINTENANCE__INTERVAL_S="0.5",
        **faults_at(marks, before_a_query, in_a_round),
    ).start()
    load = stage.load(node)
    with Pulse(node, 0, "pulse") as pulse:
        [(furthest,)] = node.sql(FURTHEST)
        statuses = []

        def asked() -> bool:
            statuses.append(node.get(QUERY).status)
            return any("analytics" in mark.name for mark in marks.iterdir())

        eventually(asked, "analytics was killed before a query")
        until_fired(marks, [in_a_round])
        node.sql(f"DROP TABLE {furthest}")
        until_restarted(node, "analytics", 1)
        until_restarted(node, "maintenance", 1)
        eventually(lambda: node.sql(FURTHEST) == [(furthest,)], "maintenance makes the missing partition")
        assert node.get(QUERY).status == 404

        cut = kill_in_a_query(node)
        # Either the acceptor gave up, or it asked once more: the socket of analytics outlives the process.
        assert (cut.status, cut.body["code"]) in ((503, "analytics_unavailable"), (404, "unknown_device")), cut
        until_restarted(node, "analytics", 2)
        assert node.get(QUERY).status == 404
        eventually(lambda: node.sql(WAITING) == [(0,)], "PostgreSQL has let go of the query")
    summary = load.stop()
    print("asked:", {status: statuses.count(status) for status in set(statuses)}, "the pulse:", pulse.summary())
    assert set(statuses) <= {404, 503}
    assert set(summary["statuses"]) <= {"202", "400"}
    assert (summary["retried"], summary["unknown"], pulse.codes) == (0, 0, set())
    prove_nothing_lost(node, pulse.note(Ledger().read(load.ledger_file)))
