"""Reloading a node of small roles: order, refusals, successors that fail, signals in between."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hseie.config_load import load
from hseie.control import ask_reload, prepare_run_dir, run_dir_of
from hseie.process import ProcessSpec
from hseie.status import find_problems
from hseie.supervisor.supervisor import Plan, Supervisor
from tests.integration.fakes_supervisor import once
from tests.integration.test_supervisor_processes import FAST, PATIENCE_S, STOP_ORDER, Node, eventually

Stage = list[tuple[Any, ...]]


class Reloadable(Node):
    """A node, and what it finds when it reads its configuration again."""

    def next(self, *stages: Stage, **overrides: Any) -> None:
        named = [[[name, serve, [str(self.events_file), *args]] for name, serve, *args in stage] for stage in stages]
        following = {"plan": {"stages": named, "stop_order": STOP_ORDER}, "overrides": {**FAST, **overrides}}
        (self.data.parent / "next.json").write_text(json.dumps(following))

    def reload(self, *stages: Stage, **overrides: Any) -> dict[str, Any]:
        self.next(*stages, **overrides)
        return asyncio.run(ask_reload(self.run_dir, PATIENCE_S))

    def events_since(self, count: int) -> list[str]:
        return self.events()[count:]

    def is_reloading(self) -> bool:
        return bool(self.snapshot()["node"]["reloading"])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Reloadable]:
    node = Reloadable(tmp_path)
    yield node
    if node.process is not None:
        node.process.kill()
        node.process.wait()


TWO: list[Stage] = [
    [("writer-0", "steady"), ("writer-1", "steady")],
    [("acceptor-0", "steady"), ("acceptor-1", "steady")],
]


def test_owners_end_before_their_successors_start_and_servers_after(node: Reloadable) -> None:
    node.start(*TWO).ready()
    before = node.snapshot()
    count = len(node.events())
    answer = node.reload(*TWO, **{"ingest.past_max_days": 100})
    assert answer == {
        "id": 0,
        "outcome": "done",
        "exit_code": 0,
        "reason": "",
        "changed": ["ingest.past_max_days"],
        "replaced": ["writer-0", "writer-1", "acceptor-0", "acceptor-1"],
        "warnings": [],
    }
    expected = []
    for name in ("writer-0", "writer-1"):
        expected += [f"{name} {event}" for event in ("stopping", "stopped", "start", "ready")]
    for name in ("acceptor-0", "acceptor-1"):
        expected += [f"{name} {event}" for event in ("start", "ready", "stopping", "stopped")]
    assert node.events_since(count) == expected
    assert node.logged("process_ended") == []  # none of these ends is a failure
    after = node.snapshot()
    assert [row["name"] for row in after["processes"]] == ["writer-0", "writer-1", "acceptor-0", "acceptor-1"]
    assert after["node"]["reloading"] == ""
    assert after["node"]["generation"] == 2
    for old, new in zip(before["processes"], after["processes"], strict=True):
        assert (new["state"], new["restarts"], new["generation"]) == ("ready", 0, 2)
        assert new["pid"] != old["pid"]
        assert old["config"] == before["node"]["config"] != new["config"] == after["node"]["config"]
    node.kill()
    assert node.exit_code() == 0


def test_the_new_configuration_is_obeyed_and_kept_by_later_lives(node: Reloadable) -> None:
    stages: list[Stage] = [[("writer-0", "telling")], [("acceptor-0", "telling")]]
    node.start(*stages, **{"ingest.past_max_days": 11}).ready()
    node.next(*stages, **{"ingest.past_max_days": 22})
    node.kill(signal.SIGHUP)
    eventually(lambda: (node.snapshot()["node"]["last_reload"] or {}).get("outcome") == "done", "reloaded")
    assert node.events().count("writer-0 relieved") == node.events().count("acceptor-0 relieved") == 1
    os.kill(node.row("writer-0")["pid"], signal.SIGKILL)
    eventually(lambda: node.events().count("writer-0 days:22") == 2, "the next life")
    assert node.events().count("writer-0 days:11") == 1
    node.kill()
    assert node.exit_code() == 0
    assert node.events()[-2:] == ["acceptor-0 stopped", "writer-0 stopped"]


def test_another_number_of_processes(node: Reloadable) -> None:
    node.start(*TWO).ready()
    count = len(node.events())
    three: list[Stage] = [
        [("reshard", "once")],
        [(f"writer-{number}", "steady") for number in range(3)],
        [(f"acceptor-{number}", "steady") for number in range(3)],
    ]
    assert node.reload(*three)["outcome"] == "done"
    events = node.events_since(count)
    place = {event: index for index, event in enumerate(events)}
    for former in ("writer-0 stopped", "writer-1 stopped"):
        assert place[former] < place["reshard start"]
    for new in ("writer-0 start", "writer-1 start", "writer-2 start"):
        assert place["reshard done"] < place[new]
    assert place["writer-2 ready"] < place["acceptor-0 start"]
    assert sum(row["state"] == "ready" for row in node.snapshot()["processes"]) == 6
    one: list[Stage] = [[("reshard", "once")], [("writer-0", "steady")], [("acceptor-0", "steady")]]
    assert node.reload(*one)["outcome"] == "done"
    assert [row["name"] for row in node.snapshot()["processes"]] == ["writer-0", "acceptor-0"]


@pytest.mark.parametrize("following", ["the former number", "the same again"])
def test_a_step_that_fails_is_gone_and_the_next_reload_brings_the_writers_back(
    node: Reloadable, following: str
) -> None:
    node.start(*TWO).ready()
    writers: Stage = [(f"writer-{number}", "steady") for number in range(4)]
    answer = node.reload([("reshard", "failing", "hard")], writers, TWO[1])
    assert (answer["outcome"], answer["exit_code"]) == ("failed", 1)
    assert "reshard does not come to its end with the new configuration (exit 3" in answer["reason"]
    snapshot = node.snapshot()
    assert [row["name"] for row in snapshot["processes"]] == ["acceptor-0", "acceptor-1"]
    assert snapshot["node"]["missing"] == ["writer-0", "writer-1", "writer-2", "writer-3"]
    (problem,) = find_problems(snapshot)
    assert "writer-0, writer-1, writer-2, writer-3 not started: a reload failed" in problem.text
    assert answer["reason"] in problem.text
    tries = node.events().count("reshard start")
    time.sleep(1.0)  # five times the longest pause before a restart
    assert node.events().count("reshard start") == tries
    if following == "the former number":
        assert node.reload(*TWO)["outcome"] == "done"
        assert "reshard done" not in node.events()
    else:
        assert node.reload([("reshard", "once")], writers, TWO[1])["outcome"] == "done"
        assert node.events().count("reshard done") == 1
    snapshot = node.snapshot()
    wanted = TWO[0] if following == "the former number" else writers
    assert [row["name"] for row in snapshot["processes"] if row["role"] == "writer"] == [name for name, *_ in wanted]
    assert find_problems(snapshot) == []
    node.kill()
    assert node.exit_code() == 0


def test_an_end_removes_the_one_that_ended_and_not_another_of_its_name(tmp_path: Path) -> None:
    events = tmp_path / "events"
    config = load(overrides={"node.data": str(tmp_path / "data")}).config
    run_dir = run_dir_of(config.data_dir)
    prepare_run_dir(run_dir)

    async def two_lives() -> None:
        async def no_plan() -> Plan:
            return Plan([], ())

        supervisor = Supervisor(config, run_dir, no_plan)
        former = supervisor.launch(ProcessSpec("reshard", "reshard", once, (str(events),), once=True))
        latter = supervisor.launch(ProcessSpec("reshard", "reshard", once, (str(events), 3600.0), once=True))
        try:
            assert await supervisor.changes.until(lambda: former.done, PATIENCE_S)
            assert supervisor.members == {"reshard": latter}
        finally:
            supervisor.stop()
            for member in (former, latter):
                member.kill("the test is over")
            await supervisor.changes.until(lambda: not (former.running or latter.running), PATIENCE_S)

    asyncio.run(two_lives())


def test_another_number_of_shards_is_refused_while_postgresql_is_away(node: Reloadable, tmp_path: Path) -> None:
    away = tmp_path / "away"
    two: list[Stage] = [[("writer-0", "storing", str(away)), ("writer-1", "storing", str(tmp_path / "never"))]]
    three: list[Stage] = [[("reshard", "once")], [*two[0], ("writer-2", "storing", str(away))]]
    node.start(*two).ready()
    pids = [row["pid"] for row in node.snapshot()["processes"]]
    away.touch()
    eventually(lambda: node.row("writer-0")["stats"]["database"] == "away", "the writer says so")
    refused = node.reload(*three, **{"writer.shards": 3})
    assert (refused["outcome"], refused["exit_code"]) == ("refused", 75)
    assert "PostgreSQL is away (writer-0: away)" in refused["reason"]
    snapshot = node.snapshot()
    assert [row["pid"] for row in snapshot["processes"]] == pids
    assert snapshot["node"]["generation"] == 1
    # The same number of shards needs no PostgreSQL.
    assert node.reload(*two, **{"ingest.past_max_days": 100})["outcome"] == "done"
    away.unlink()
    eventually(lambda: node.row("writer-0")["stats"].get("database") == "ok", "it is back")
    assert node.reload(*three, **{"writer.shards": 3})["outcome"] == "done"
    assert len(node.snapshot()["processes"]) == 3


def test_a_configuration_that_is_wrong_or_cannot_change_touches_nothing(node: Reloadable) -> None:
    node.start(*TWO).ready()
    pids = [row["pid"] for row in node.snapshot()["processes"]]
    wrong = node.reload(*TWO, **{"ingest.past_max_dayz": 1})
    assert (wrong["outcome"], wrong["exit_code"]) == ("refused", 78)
    assert "did you mean ingest.past_max_days?" in wrong["reason"]
    fixed = node.reload(*TWO, **{"http.port": 4000, "ingest.past_max_days": 1})
    assert (fixed["outcome"], fixed["exit_code"]) == ("refused", 78)
    assert "http.port (3000 -> 4000)" in fixed["reason"]
    assert "restart the node" in fixed["reason"]
    snapshot = node.snapshot()
    assert [row["pid"] for row in snapshot["processes"]] == pids
    assert snapshot["node"]["generation"] == 1
    assert snapshot["node"]["last_reload"]["outcome"] == "refused"
    assert len(node.logged("reload_ended")) == 2


def test_a_server_that_does_not_come_up_leaves_its_predecessor_in_place(node: Reloadable) -> None:
    node.start(*TWO).ready()
    before = {row["name"]: row["pid"] for row in node.snapshot()["processes"]}
    answer = node.reload(TWO[0], [("acceptor-0", "failing", "config"), ("acceptor-1", "steady")])
    assert (answer["outcome"], answer["exit_code"]) == ("failed", 1)
    assert "acceptor-0 does not start with the new configuration (exit 78: a key is wrong)" in answer["reason"]
    rows = {row["name"]: row for row in node.snapshot()["processes"]}
    assert {name: row["pid"] for name, row in rows.items() if name.startswith("acceptor")} == {
        name: pid for name, pid in before.items() if name.startswith("acceptor")
    }
    assert [rows[name]["generation"] for name in sorted(rows)] == [1, 1, 2, 2]
    assert all(row["state"] == "ready" for row in rows.values())
    assert node.reload(*TWO)["outcome"] == "done"
    node.kill()
    assert node.exit_code() == 0


@pytest.mark.parametrize(("kind", "code"), [("config", 78), ("hard", 3)])
def test_an_owner_that_does_not_come_up_is_tried_again_until_the_next_reload(
    node: Reloadable, kind: str, code: int
) -> None:
    node.start(*TWO).ready()
    answer = node.reload([("writer-0", "failing", kind), ("writer-1", "steady")], TWO[1])
    assert answer["outcome"] == "failed"
    assert f"writer-0 does not start with the new configuration (exit {code}" in answer["reason"]
    tries = node.events().count("writer-0 start")
    eventually(lambda: node.events().count("writer-0 start") > tries + 1, "it is tried again")
    assert node.row("writer-1")["generation"] == 1
    assert node.reload(*TWO)["outcome"] == "done"
    assert node.row("writer-0")["state"] == "ready"
    node.kill()
    assert node.exit_code() == 0


def test_an_owner_that_does_not_end_is_killed(node: Reloadable) -> None:
    node.start([("writer-0", "stubborn")], **{"node.drain_timeout_s": 1.0}).ready()
    assert node.reload([("writer-0", "steady")], **{"node.drain_timeout_s": 1.0})["outcome"] == "done"
    assert [record["because"] for record in node.logged("process_killed")] == ["did not make way in time"]


def test_one_reload_at_a_time_and_a_stop_in_the_middle_of_it(node: Reloadable) -> None:
    slow: list[Stage] = [[("writer-0", "steady", 3600.0)], [("acceptor-0", "steady")]]
    node.start(*slow, **{"node.drain_timeout_s": 3600}).ready()
    node.next(*slow, **{"node.drain_timeout_s": 3600})
    node.kill(signal.SIGHUP)
    eventually(node.is_reloading, "the reload waits for the writer")
    assert node.snapshot()["node"]["reloading"] == "replacing writer-0"
    second = asyncio.run(ask_reload(node.run_dir, PATIENCE_S))
    assert (second["outcome"], second["exit_code"]) == ("refused", 75)
    assert "under way" in second["reason"]
    node.kill(signal.SIGINT)
    eventually(lambda: "acceptor-0 stopped" in node.events(), "draining")
    node.kill(signal.SIGINT)  # hurry: the writer would take an hour
    assert node.exit_code() == 0
    assert node.events().count("writer-0 start") == 1


def test_sigterm_between_former_and_successor(node: Reloadable) -> None:
    stages: list[Stage] = [[("writer-0", "steady")], [("acceptor-0", "steady", 6.0)]]
    node.start(*stages).ready()
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(node.reload, *stages)
        eventually(lambda: "acceptor-0 stopping" in node.events(), "the former one makes way")
        states = {row["name"]: row["state"] for row in node.snapshot()["processes"]}
        assert states == {"writer-0": "ready", "acceptor-0": "ready", "acceptor-0-former": "draining"}
        node.kill()
        answer = asking.result(PATIENCE_S)
    assert (answer["outcome"], answer["exit_code"], answer["reason"]) == ("failed", 75, "the node stops")
    assert node.exit_code() == 0
    assert node.events().count("acceptor-0 stopped") == 2
    assert node.logged("process_killed") == []


def test_a_node_that_starts_is_not_reloaded(node: Reloadable) -> None:
    node.start([("migrate", "once", 3600.0)], [("writer-0", "steady")])
    eventually(lambda: node.events() == ["migrate start"], "starting")
    answer = node.reload([("writer-0", "steady")])
    assert (answer["outcome"], answer["exit_code"]) == ("refused", 75)
    assert "starting" in answer["reason"]


def test_sighup_of_the_whole_group_ends_nobody(node: Reloadable) -> None:
    node.start([("writer-0", "steady")]).ready()
    pid = node.row("writer-0")["pid"]
    for _ in range(3):
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.1)
    row = node.row("writer-0")
    assert (row["pid"], row["state"], row["restarts"]) == (pid, "ready", 0)
