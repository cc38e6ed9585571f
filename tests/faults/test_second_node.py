"""Newcomers on the data folder or the port of a node under load: refused whole, and the node does not notice.

Each of their reasons and exit codes is in tests/system/test_refused_starts.py.
"""

import subprocess
from collections.abc import Callable

from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost
from tests.system.node import PATIENCE_S, TIED, Node, eventually, free_port, is_free

TEMPORARY = 75


def sockets_of(node: Node) -> dict[str, int]:
    """The internal sockets and the journals, by inode: a newcomer that took one over would have made it anew."""
    files = [*(node.data / "run").iterdir(), *(node.data / "journal").glob("*.sqlite")]
    return {file.name: file.stat().st_ino for file in files}


def test_newcomers_beside_a_node_under_load(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    load = stage.load(node)
    files, pids = sockets_of(node), node.children()
    assert len(files) > 4
    other_port = free_port()
    with Pulse(node, 0, "even") as even, Pulse(node, 1, "odd") as odd:
        # At the same moment, as a service manager does that was told twice.
        newcomers = [
            subprocess.Popen(
                [*TIED, "up", "--data", str(data), "--port", str(port)], stderr=subprocess.PIPE, env=node.environ
            )
            for data, port in (
                (node.data, other_port),
                (node.data, node.port),
                (node.folder / "elsewhere", node.port),
                (node.folder / "elsewhere", node.port - 1),  # its analytics would take our port
            )
        ]
        for newcomer in newcomers:
            _, said = newcomer.communicate(timeout=PATIENCE_S)
            assert newcomer.returncode == TEMPORARY, said
            assert said.splitlines()[-1].startswith(b"hseie: "), said
            assert b"process_started" not in said
        taken = len(odd.beats)
        eventually(lambda: len(odd.beats) > taken + 10, "the node serves on")
    summary = load.stop()
    assert is_free(other_port)
    assert not (node.folder / "elsewhere" / "journal").exists()
    assert sockets_of(node) == files
    assert node.children() == pids
    assert set(summary["statuses"]) <= {"202", "400"}
    assert (summary["retried"], even.codes | odd.codes) == (0, set())
    prove_nothing_lost(node, odd.note(even.note(Ledger().read(load.ledger_file))))
