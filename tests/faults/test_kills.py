"""kill -9 at exact places in the way of a reading."""

from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import faults_at
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost
from tests.system.node import eventually


def test_a_writer_killed_right_after_its_journal_commit(
    stage: Stage, marks: Path, new_database: Callable[[], str]
) -> None:
    fault = "writer-0/journal.after_commit:kill@20"
    node = stage.node(DATABASE_URL=new_database(), **faults_at(marks, fault)).start()
    load = stage.load(node)
    eventually(lambda: any(marks.iterdir()), "the fault has happened")
    eventually(node.is_ready, "the node is ready again")
    summary = load.stop()
    assert set(summary["statuses"]) <= {"202", "400", "503"}
    prove_nothing_lost(node, Ledger().read(load.ledger_file))
