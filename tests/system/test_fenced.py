"""Two nodes that believe the same journal is theirs: one of them learns that it is not, and corrupts nothing."""

import shutil
from collections.abc import Callable

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, meter, prove_nothing_lost
from tests.system.node import PATIENCE_S, Node

FENCED = 77


def expect_fenced(node: Node) -> None:
    assert node.process is not None
    assert node.process.wait(PATIENCE_S) == FENCED, node.tail()
    assert "Traceback" not in node.tail()


@pytest.fixture
def first(stage: Stage, new_database: Callable[[], str]) -> Node:
    # One shard: it is clear who gets what.
    return stage.node("first", DATABASE_URL=new_database(), HSEIE_WRITER__SHARDS="1").start()


def copy_of(first: Node, stage: Stage, name: str) -> Node:
    """Another node with a copy of the journals as they are now."""
    node = stage.node(name, DATABASE_URL=first.dsn(), HSEIE_WRITER__SHARDS="1")
    shutil.copytree(first.data / "journal", node.data / "journal")
    return node


def test_the_owner_of_a_journal_that_was_copied_and_started_elsewhere(stage: Stage, first: Node) -> None:
    ledger = Ledger()
    common = [meter(f"F-{number}") for number in range(20)]
    assert first.post("meter", common, Prefer="wait").status == 201
    ledger.note("meter", common)
    second = copy_of(first, stage, "second").start()
    assert first.process is not None
    # Nobody has told the first. What it takes now is in its journal, but it may not bring it into PostgreSQL any more.
    vain = meter("F-vain")
    assert first.post("meter", vain).status in (202, 503)
    ledger.note("meter", [vain], promised=False)
    expect_fenced(first)
    assert "another writer" in first.tail()
    newer = [meter(f"F-{number}") for number in range(20)]
    assert second.post("meter", newer, Prefer="wait").status == 201
    again = second.post("meter", common)
    assert again.body["duplicates"] == 20
    ledger.note("meter", [*newer, *common])
    stored = prove_nothing_lost(second, ledger, 1)
    assert not any(key[1] == "F-vain" for key in stored.history)


def test_a_journal_from_an_older_copy(stage: Stage, first: Node) -> None:
    ledger = Ledger()
    readings = [meter(f"O-{number}") for number in range(20)]
    assert first.post("meter", readings[:10], Prefer="wait").status == 201
    old = copy_of(first, stage, "old")
    assert first.post("meter", readings[10:], Prefer="wait").status == 201
    ledger.note("meter", readings)
    first.stop()
    with pytest.raises(AssertionError):
        old.launch()
    expect_fenced(old)
    assert "it is an older copy" in old.tail()
    first.start()
    prove_nothing_lost(first, ledger, 1)
