"""A database that was written by journals which are not in the node's folder: wiped, moved, or another node's."""

import json
import os
import shutil
import signal
from collections.abc import Callable

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, meter, prove_nothing_lost
from tests.system.node import PATIENCE_S, Node

LOST = 78
FENCED = 77


def expect_refused(node: Node) -> None:
    """A start that ends with the reason before anything was acknowledged, and leaves nothing behind."""
    with pytest.raises(AssertionError, match="the node ended with 78"):
        node.launch()
    assert node.process is not None
    assert node.process.returncode == LOST
    told = node.tail()
    for part in ("another node works on this database", "the folder was moved or wiped", "hseie journal retire"):
        assert part in told
    assert "Traceback" not in told
    assert list((node.data / "journal").iterdir()) == []


@pytest.fixture
def node(stage: Stage, new_database: Callable[[], str]) -> Node:
    return stage.node(DATABASE_URL=new_database()).start()


def take(node: Node, ledger: Ledger, name: str) -> None:
    readings = [meter(f"{name}-{number}") for number in range(20)]
    assert node.post("meter", readings, Prefer="wait").status == 201
    ledger.note("meter", readings)


def test_a_wiped_folder_is_refused_until_an_operator_says_that_it_is_lost(node: Node) -> None:
    ledger = Ledger()
    take(node, ledger, "before")
    node.stop()
    moved = node.data / "moved"
    (node.data / "journal").rename(moved)
    expect_refused(node)
    # Brought back, it goes on as if nothing had been.
    (node.data / "journal").rmdir()
    moved.rename(node.data / "journal")
    node.start()
    take(node, ledger, "between")
    node.stop()
    (node.data / "journal").rename(moved)
    expect_refused(node)
    done = node.command("journal", "retire", "--yes")
    assert (done.returncode, done.stdout.count("retired: journal")) == (0, 2), done
    node.start()
    take(node, ledger, "after")
    prove_nothing_lost(node, ledger)
    node.stop()
    # What was retired stays out, also when it comes back.
    shutil.rmtree(node.data / "journal")
    moved.rename(node.data / "journal")
    with pytest.raises(AssertionError):
        node.launch()
    assert node.process is not None
    assert node.process.wait(PATIENCE_S) == FENCED
    assert "was given up for lost" in node.tail()


def test_replace_goes_on_at_once_and_says_so(node: Node) -> None:
    ledger = Ledger()
    take(node, ledger, "before")
    node.stop()
    shutil.rmtree(node.data / "journal")
    node.start(HSEIE_WRITER__LOST_JOURNAL="replace")
    said = [json.loads(line) for line in node.tail(200).splitlines() if "journal_replaced" in line]
    assert sum(len(line["journals"]) for line in said) == 2
    assert {line["level"] for line in said} == {"error"}
    take(node, ledger, "after")
    prove_nothing_lost(node, ledger)
    node.stop()
    node.start()  # and that was it
    assert node.tail(200).count("journal_replaced") == len(said)


def test_a_second_node_on_the_same_database_is_refused_and_the_first_unharmed(stage: Stage, node: Node) -> None:
    ledger = Ledger()
    take(node, ledger, "before")
    expect_refused(stage.node("second", DATABASE_URL=node.dsn()))
    take(node, ledger, "after")
    prove_nothing_lost(node, ledger)


def test_a_woken_writer_whose_journal_was_replaced_stores_nothing(stage: Stage, node: Node) -> None:
    ledger = Ledger()
    take(node, ledger, "before")
    pids = [*node.children().values(), node.process.pid if node.process else 0]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    second = stage.node("second", DATABASE_URL=node.dsn(), HSEIE_WRITER__LOST_JOURNAL="replace").start()
    take(second, ledger, "second")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    vain = [meter(f"vain-{number}") for number in range(20)]
    assert node.post("meter", vain).status in (202, 503)
    ledger.note("meter", vain, promised=False)
    assert node.process is not None
    assert node.process.wait(PATIENCE_S) == FENCED, node.tail()
    assert "another journal has taken its place" in node.tail()
    stored = prove_nothing_lost(second, ledger)
    assert not any(key[1].startswith("vain") for key in stored.history)
