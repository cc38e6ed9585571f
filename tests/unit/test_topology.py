"""Which processes a configuration asks for, in which order."""

import pickle
from pathlib import Path
from typing import Any, cast

import pytest

from hseie import topology
from hseie.config import Config
from hseie.config_load import load
from hseie.ports import Listeners
from hseie.supervisor.supervisor import Plan


def config(tmp_path: Path, **overrides: Any) -> Config:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(overrides={"node.data": str(tmp_path), **given}).config


def names(plan: Plan) -> list[list[str]]:
    return [[spec.name for spec in stage] for stage in plan.stages]


def plan_of(config: Config, url: str) -> Plan:
    return topology.plan(config, url, cast(Listeners, NoPorts()))


class NoPorts:
    """Stands for listeners where nobody listens."""

    of_analytics: tuple[Any, ...] = ("analytics",)

    def of_acceptors(self, acceptors: int) -> list[list[Any]]:
        return [[f"listener-{number}"] for number in range(acceptors)]


def test_the_default_node(tmp_path: Path) -> None:
    plan = plan_of(config(tmp_path), "postgresql://somewhere/hseie")
    assert names(plan) == [
        ["migrate"],
        ["writer-0", "writer-1"],
        ["analytics", "maintenance"],
        ["acceptor-0", "acceptor-1"],
    ]
    assert list(plan.stop_order) == ["acceptor", "writer", "analytics", "maintenance"]
    everything = [spec for stage in plan.stages for spec in stage]
    assert [spec.name for spec in everything if spec.once] == ["migrate"]
    assert {spec.role for spec in everything if not spec.once} == set(plan.stop_order)
    assert {spec.args for spec in everything if spec.role == "writer"} == {
        ("postgresql://somewhere/hseie", 0),
        ("postgresql://somewhere/hseie", 1),
    }


def test_specs_travel_to_their_processes(tmp_path: Path) -> None:
    for stage in plan_of(config(tmp_path), "postgresql://somewhere/hseie").stages:
        assert pickle.loads(pickle.dumps(stage)) == stage


def test_numbers_come_from_the_configuration(tmp_path: Path) -> None:
    plan = plan_of(config(tmp_path, writer__shards=3, http__acceptors=1), "url")
    assert ["writer-0", "writer-1", "writer-2"] in names(plan)
    assert names(plan)[-1] == ["acceptor-0"]


@pytest.mark.parametrize(
    ("url", "migrate", "expected"),
    [
        ("", "auto", True),
        ("", "always", True),
        ("", "never", False),
        ("postgresql://elsewhere/db", "auto", False),
        ("postgresql://elsewhere/db", "always", True),
        ("postgresql://elsewhere/db", "never", False),
    ],
)
def test_who_migrates(tmp_path: Path, url: str, migrate: str, expected: bool) -> None:
    asked = config(tmp_path, postgres__url=url, postgres__migrate=migrate)
    assert topology.migrates(asked) is expected
    assert (["migrate"] in names(plan_of(asked, "url"))) is expected


def test_journals_of_another_number_of_shards_are_drained_first(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "shard-0000-of-0002.sqlite").touch()
    assert ["reshard"] not in names(plan_of(config(tmp_path), "url"))
    (folder / "shard-0000-of-0003.sqlite").touch()
    assert names(plan_of(config(tmp_path), "url"))[:3] == [["migrate"], ["reshard"], ["writer-0", "writer-1"]]


def test_each_acceptor_gets_its_listener_and_what_a_running_node_does_with_each_role(tmp_path: Path) -> None:
    specs = [spec for stage in plan_of(config(tmp_path), "url").stages for spec in stage]
    assert [spec.args for spec in specs if spec.role == "acceptor"] == [
        (0, ["listener-0"], ["listener-1"]),
        (1, ["listener-1"], ["listener-0"]),
    ]
    alone = plan_of(config(tmp_path, http__acceptors=1), "url").stages[-1]
    assert [spec.args for spec in alone] == [(0, ["listener-0"], [])]
    assert {spec.role for spec in specs if spec.beside} == {"acceptor", "analytics"}
    assert {spec.role for spec in specs if spec.jointly} == {"writer"}
