"""The supervisor with real processes of small roles: starting, dying, hanging, stopping."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hseie.control import Snapshot, ask_snapshot, run_dir_of

FAKES = Path(__file__).with_name("fakes_supervisor.py")
PATIENCE_S = 60.0  # for machines under load; nothing waits so long when all is well
FAST = {
    "supervisor.heartbeat_ms": 50,
    "supervisor.heartbeat_timeout_ms": 3000,
    "supervisor.restart_delay_ms": 20,
    "supervisor.restart_delay_max_ms": 200,
    "node.drain_timeout_s": 20,
}
STOP_ORDER = ("acceptor", "writer", "analytics")


def eventually(look: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not in {PATIENCE_S} s: {what}")


class Node:
    """A node of small roles in a process of its own. Stages are lists of (name, role function, arguments)."""

    def __init__(self, tmp_path: Path) -> None:
        self.data = tmp_path / "data"
        self.out = tmp_path / "out"
        self.log = tmp_path / "log"
        self.events_file = tmp_path / "events"
        self.events_file.touch()
        self.run_dir = run_dir_of(self.data)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *stages: list[tuple[Any, ...]], **overrides: Any) -> "Node":
        plan = {
            "stages": [
                [[name, serve, [str(self.events_file), *args]] for name, serve, *args in stage] for stage in stages
            ],
            "stop_order": STOP_ORDER,
        }
        self.process = self.popen(plan, {**FAST, **overrides}, self.out, self.log)
        return self

    def popen(self, plan: Any, overrides: Any, out: Path, log: Path) -> "subprocess.Popen[bytes]":
        with out.open("ab") as stdout, log.open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, FAKES, self.data, json.dumps(plan), json.dumps(overrides)],
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": str(FAKES.parent)},
            )

    def ready(self) -> "Node":
        eventually(lambda: "ready\n" in self.out.read_text(), "the node is ready")
        return self

    def events(self) -> list[str]:
        return self.events_file.read_text().splitlines()

    def logged(self, event: str) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [record for record in records if record["event"] == event]

    def snapshot(self) -> Snapshot:
        return asyncio.run(ask_snapshot(self.run_dir, PATIENCE_S))

    def row(self, name: str) -> dict[str, Any]:
        (row,) = (row for row in self.snapshot()["processes"] if row["name"] == name)
        return row

    def kill(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def exit_code(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    if node.process is not None:
        node.process.kill()
        node.process.wait()


def gone(pid: int) -> bool:
    """True when the process has ended; nobody may be left to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_ordered_start_and_stop(node: Node) -> None:
    node.start(
        [("migrate", "once")],
        [("writer-0", "steady"), ("writer-1", "steady")],
        [("analytics-0", "steady")],
        [("acceptor-0", "steady")],
    ).ready()
    snapshot = node.snapshot()
    assert snapshot["node"]["state"] == "ready"
    assert [row["name"] for row in snapshot["processes"]] == ["writer-0", "writer-1", "analytics-0", "acceptor-0"]
    for row in snapshot["processes"]:
        assert (row["state"], row["restarts"], row["last_exit"]) == ("ready", 0, None)
        assert row["rss_bytes"] > 1_000_000
        assert row["heartbeat_age_ms"] < 3000
        assert row["stats"] == {"answer": 42}
    node.kill()
    assert node.exit_code() == 0
    events = node.events()
    place = {event: index for index, event in enumerate(events)}
    assert events[:2] == ["migrate start", "migrate done"]
    for writer in ("writer-0", "writer-1"):
        assert place[f"{writer} ready"] < place["analytics-0 start"]
        assert place["acceptor-0 stopped"] < place[f"{writer} stopping"]
        assert place[f"{writer} stopped"] < place["analytics-0 stopping"]
    assert place["analytics-0 ready"] < place["acceptor-0 start"]


def test_a_child_can_ask_for_the_snapshot(node: Node) -> None:
    node.start([("writer-0", "steady")], [("acceptor-0", "asking")]).ready()
    eventually(lambda: "acceptor-0 saw:acceptor-0,writer-0" in node.events(), "the child saw both")


def test_a_killed_process_is_started_again_and_the_others_stay(node: Node) -> None:
    node.start([("writer-0", "steady"), ("writer-1", "steady")]).ready()
    before, other = node.row("writer-0"), node.row("writer-1")
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: node.events().count("writer-0 ready") == 2, "the second life")
    after = eventually(lambda: (row := node.row("writer-0"))["state"] == "ready" and row, "ready again")
    assert after["pid"] != before["pid"]
    assert after["restarts"] == 1
    assert after["last_exit"]["code"] == -signal.SIGKILL
    assert node.row("writer-1")["pid"] == other["pid"]
    node.kill()
    assert node.exit_code() == 0


def test_a_stuck_loop_is_killed_and_started_again(node: Node) -> None:
    node.start([("writer-0", "stuck")], **{"supervisor.heartbeat_timeout_ms": 1000}).ready()
    eventually(lambda: node.events().count("writer-0 start") == 2, "the second life")
    assert "no heartbeat" in node.row("writer-0")["last_exit"]["text"]
    (stuck,) = node.logged("process_stuck")
    assert stuck["silent_s"] >= 1.0


def test_a_crash_loop_backs_off_and_shows(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    node.start([("writer-0", "failing_later", str(flag)), ("writer-1", "steady")]).ready()
    flag.touch()
    os.kill(node.row("writer-0")["pid"], signal.SIGKILL)
    eventually(lambda: len(node.logged("process_ended")) >= 6, "some ends")
    assert [record["restart_in_s"] for record in node.logged("process_ended")][:6] == [0.02, 0.04, 0.08, 0.16, 0.2, 0.2]
    row = eventually(lambda: (row := node.row("writer-0"))["state"] == "down" and row, "seen down")
    assert row["restarts"] >= 5
    assert row["last_exit"]["text"] == "exit 1: the flag is there"
    assert node.row("writer-1")["state"] == "ready"
    flag.unlink()
    eventually(lambda: node.row("writer-0")["state"] == "ready", "recovered")
    node.kill()
    assert node.exit_code() == 0


@pytest.mark.parametrize(
    ("kind", "exit_code", "reason", "starts"),
    [
        ("config", 78, "writer-1: exit 78: a key is wrong", 1),
        ("fenced", 77, "writer-1: exit 77: the journal belongs to another writer", 1),
        ("error", 69, "writer-1: exit 1: the surroundings refuse", 5),
        ("returns", 69, "writer-1: exit 1: returned without having been told to stop", 5),
        ("hard", 69, "writer-1: exit 3", 5),
    ],
)
def test_a_node_that_cannot_begin_is_given_up_with_a_reason(
    node: Node, kind: str, exit_code: int, reason: str, starts: int
) -> None:
    node.start([("writer-0", "steady")], [("writer-1", "failing", kind)])
    assert node.exit_code() == exit_code
    assert node.out.read_text().strip() == reason
    assert node.events().count("writer-1 start") == starts
    assert "writer-0 stopped" in node.events()


def test_a_one_shot_process_that_fails_is_not_passed_over(node: Node) -> None:
    node.start([("migrate", "once", 30.0)], [("writer-0", "steady")])
    eventually(lambda: node.events() == ["migrate start"], "the first try")
    os.kill(node.row("migrate")["pid"], signal.SIGTERM)
    eventually(lambda: node.events().count("migrate start") == 2, "the second try")
    assert "writer-0 start" not in node.events()


def test_a_second_node_on_the_folder_is_refused(node: Node, tmp_path: Path) -> None:
    node.start([("writer-0", "steady")]).ready()
    second = node.popen({"stages": [], "stop_order": []}, FAST, tmp_path / "out2", tmp_path / "log2")
    assert second.wait(PATIENCE_S) == 75
    assert node.process is not None
    assert f"another node (pid {node.process.pid}) runs on" in (tmp_path / "log2").read_text()
    assert node.row("writer-0")["state"] == "ready"


def test_children_die_with_their_supervisor_and_the_folder_is_free_again(node: Node) -> None:
    node.start([("writer-0", "steady"), ("writer-1", "stubborn")]).ready()
    pids = [row["pid"] for row in node.snapshot()["processes"]]
    node.kill(signal.SIGKILL)
    node.exit_code()
    eventually(lambda: all(gone(pid) for pid in pids), "no orphans")
    node.out.write_text("")
    node.start([("writer-0", "steady")]).ready()
    assert node.row("writer-0")["state"] == "ready"


def test_a_drain_is_bounded(node: Node) -> None:
    node.start([("writer-0", "stubborn")], [("acceptor-0", "steady")], **{"node.drain_timeout_s": 1.0}).ready()
    node.kill()
    assert node.exit_code() == 0
    assert "acceptor-0 stopped" in node.events()
    assert [record["name"] for record in node.logged("process_killed")] == ["writer-0"]


def test_sigterm_twice_changes_nothing(node: Node) -> None:
    node.start([("writer-0", "steady", 1.0)]).ready()
    node.kill()
    eventually(lambda: "writer-0 stopping" in node.events(), "draining")
    assert node.snapshot()["node"]["state"] == "draining"
    node.kill()
    assert node.exit_code() == 0
    assert node.events()[-1] == "writer-0 stopped"


def test_the_second_ctrl_c_does_not_wait(node: Node) -> None:
    node.start([("writer-0", "steady", 3600.0)], **{"node.drain_timeout_s": 3600}).ready()
    node.kill(signal.SIGINT)
    eventually(lambda: "writer-0 stopping" in node.events(), "draining")
    node.kill(signal.SIGINT)
    assert node.exit_code() == 0
    assert "writer-0 stopped" not in node.events()


def test_ctrl_c_of_the_terminal_reaches_the_children_without_effect(node: Node) -> None:
    node.start([("writer-0", "steady")]).ready()
    os.kill(node.row("writer-0")["pid"], signal.SIGINT)
    time.sleep(0.3)
    row = node.row("writer-0")
    assert (row["state"], row["restarts"]) == ("ready", 0)


def test_stopping_in_the_middle_of_the_start(node: Node) -> None:
    node.start([("migrate", "once", 3600.0)], [("writer-0", "steady")])
    eventually(lambda: node.events() == ["migrate start"], "starting")
    assert node.snapshot()["node"]["state"] == "starting"
    node.kill()
    assert node.exit_code() == 0
    assert node.events() == ["migrate start"]


def test_a_supervisor_that_was_stopped_for_long_blames_nobody(node: Node) -> None:
    node.start([("writer-0", "steady"), ("writer-1", "steady")], **{"supervisor.heartbeat_timeout_ms": 2000}).ready()
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGSTOP)
    time.sleep(6.0)
    os.kill(node.process.pid, signal.SIGCONT)
    time.sleep(1.0)
    assert [node.row(name)["restarts"] for name in ("writer-0", "writer-1")] == [0, 0]
