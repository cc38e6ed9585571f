"""Starts that cannot succeed say why in one line, with an exit code, and disturb nobody."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import meter
from tests.system.node import Node, free_port


@pytest.fixture(scope="module")
def node(module_stage: Stage, new_database: Callable[[], str]) -> Node:
    return module_stage.node(DATABASE_URL=new_database()).start()


def refused(node: Node, arguments: list[str], code: int, reason: str, **environ: str) -> None:
    done = node.command("up", *arguments, **environ)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_node_on_the_same_data_folder(node: Node) -> None:
    assert node.process is not None
    refused(node, ["--port", str(free_port())], 75, f"hseie: another node (pid {node.process.pid}) runs on {node.data}")
    # The first one has not lost its sockets to it.
    assert node.post("meter", meter("still-there"), Prefer="wait").status == 201
    assert node.status()["ready"]


@pytest.mark.parametrize("which", ["acceptors", "analytics"])
def test_a_port_that_is_taken(node: Node, tmp_path: Path, which: str) -> None:
    newcomer = Node(tmp_path / "newcomer", node.environ)
    given = free_port()
    taken = given if which == "acceptors" else given + 1
    with socket.create_server(("127.0.0.1", taken)):
        refused(newcomer, ["--port", str(given)], 75, f"hseie: port {taken} is taken")


def test_the_port_of_another_node(node: Node, tmp_path: Path) -> None:
    newcomer = Node(tmp_path / "newcomer", node.environ)
    refused(newcomer, ["--port", str(node.port)], 75, f"hseie: port {node.port} is taken")


def test_an_unknown_key(node: Node, tmp_path: Path) -> None:
    newcomer = Node(tmp_path / "newcomer", node.environ)
    refused(newcomer, [], 78, "did you mean writer.shards?", HSEIE_WRITER__SHARD="3")
    file = tmp_path / "hseie.toml"
    file.write_text("[writer]\nflush_intervall_ms = 100\n")
    refused(newcomer, ["--config", str(file)], 78, "did you mean writer.flush_interval_ms?")
    assert not newcomer.data.exists()


def test_a_network_without_keys(node: Node, tmp_path: Path) -> None:
    newcomer = Node(tmp_path / "newcomer", node.environ)
    for host in ("0.0.0.0", "::"):
        refused(newcomer, [], 78, "auth.open_to_network = true", HSEIE_HTTP__HOST=host)
        refused(newcomer, [], 78, 'auth.mode = "keys"', HSEIE_HTTP__HOST=host)
    assert not newcomer.data.exists()


def test_an_archive_that_can_be_none(node: Node, tmp_path: Path) -> None:
    newcomer = Node(tmp_path / "newcomer", node.environ)
    for folder in (newcomer.data, newcomer.data / "x" / "..", newcomer.data / "postgres" / "days"):
        refused(newcomer, [], 78, "retention.archive must be a folder of its own", HSEIE_RETENTION__ARCHIVE=str(folder))
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "archive"):
        refused(
            newcomer, [], 78, f"retention.archive: the archive {folder} is not", HSEIE_RETENTION__ARCHIVE=str(folder)
        )
    assert not newcomer.data.exists()


def test_an_unknown_option(node: Node) -> None:
    done = node.command("up", "--prot", "3000")
    assert done.returncode == 64
    assert "--port" in done.stderr
