"""In which order the processes of a running node are replaced, and what a running node cannot change."""

from pathlib import Path
from typing import Any

import pytest

from hseie.config import Config
from hseie.config_change import changed_keys, fingerprint, fixed_keys
from hseie.config_load import load
from hseie.process import ProcessSpec
from hseie.supervisor.rolling import Step, steps
from hseie.supervisor.supervisor import Plan


async def nothing(*_: Any) -> None:
    """What these processes do."""


def spec(name: str) -> ProcessSpec:
    role = name.split("-")[0]
    return ProcessSpec(
        name,
        role,
        nothing,
        once=role in ("migrate", "reshard"),
        beside=role in ("acceptor", "analytics"),
        jointly=role == "writer",
    )


def plan(*stages: str) -> Plan:
    return Plan([[spec(name) for name in stage.split()] for stage in stages], ())


def doing(running: str, *stages: str) -> list[str]:
    found = steps({name: spec(name) for name in running.split()}, plan(*stages))
    return [f"{step.verb} {' '.join(step.names)}" for step in found]


def test_writers_first_and_acceptors_last_and_one_after_the_other() -> None:
    running = "writer-0 writer-1 analytics maintenance acceptor-0 acceptor-1"
    stages = ("migrate", "reshard", "writer-0 writer-1", "analytics maintenance", "acceptor-0 acceptor-1")
    assert doing(running, *stages) == [
        "replace writer-0",
        "replace writer-1",
        "relay analytics",
        "replace maintenance",
        "relay acceptor-0",
        "relay acceptor-1",
    ]


@pytest.mark.parametrize(
    ("running", "wanted", "expected"),
    [
        ("acceptor-0", "acceptor-0 acceptor-1 acceptor-2", ["relay acceptor-0", "start acceptor-1 acceptor-2"]),
        ("acceptor-0 acceptor-1 acceptor-2", "acceptor-0", ["relay acceptor-0", "stop acceptor-1 acceptor-2"]),
        ("", "acceptor-0", ["start acceptor-0"]),
    ],
)
def test_another_number_of_acceptors(running: str, wanted: str, expected: list[str]) -> None:
    assert doing(running, wanted) == expected


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ("writer-0 writer-1", "writer-0 writer-1 writer-2"),
        ("writer-0 writer-1 writer-2", "writer-0"),
        ("writer-0", "writer-0 writer-1"),  # an earlier reload went only so far
    ],
)
def test_another_number_of_writers_all_stop_before_any_journal_is_drained(running: str, wanted: str) -> None:
    assert doing(f"{running} acceptor-0", "migrate", "reshard", wanted, "acceptor-0") == [
        f"stop {running}",
        "start migrate",
        "start reshard",
        f"start {wanted}",
        "relay acceptor-0",
    ]


def test_writers_that_are_all_missing_start_after_the_journals_are_drained() -> None:
    assert doing("acceptor-0", "reshard", "writer-0") == ["start reshard", "start writer-0"]


def test_a_step_that_a_former_reload_left_ends_before_anything_starts() -> None:
    assert doing("reshard acceptor-0", "writer-0", "acceptor-0") == [
        "stop reshard",
        "start writer-0",
        "relay acceptor-0",
    ]
    assert doing("reshard", "reshard", "writer-0") == ["stop reshard", "start reshard", "start writer-0"]


def test_what_the_plan_does_not_know_is_left_alone() -> None:
    assert doing("simulator acceptor-0", "acceptor-0") == ["relay acceptor-0"]


def test_a_step_in_words() -> None:
    assert str(Step("relay", ("acceptor-0",))) == "replacing acceptor-0"
    assert str(Step("stop", ("writer-0", "writer-1"))) == "stopping writer-0, writer-1"


# --- configurations ---------------------------------------------------------------------------------------------------


def config(**overrides: Any) -> Config:
    return load(overrides={name.replace("__", "."): value for name, value in overrides.items()}).config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node.data", "elsewhere"),
        ("http.host", "0.0.0.0"),
        ("http.port", 8080),
        ("http.analytics_port", 8081),
        ("postgres.url", "postgresql://elsewhere/db"),
    ],
)
def test_what_a_running_node_cannot_change(key: str, value: Any) -> None:
    changed = changed_keys(config(), config(**{key: value}))
    assert changed[key][1] == (str(Path("elsewhere").absolute()) if key == "node.data" else value)
    assert key in fixed_keys(changed)


def test_what_it_can_change() -> None:
    other = config(writer__shards=3, http__acceptors=1, log__level="debug", node__drain_timeout_s=5)
    changed = changed_keys(config(), other)
    assert list(changed) == ["node.drain_timeout_s", "log.level", "http.acceptors", "writer.shards"]
    assert changed["writer.shards"] == (2, 3)
    assert fixed_keys(changed) == []


def test_the_same_in_other_words_is_no_change() -> None:
    assert changed_keys(config(), config(http__analytics_port=3001, node__data=str(Path("data").absolute()))) == {}


def test_configurations_have_names() -> None:
    assert fingerprint(config()) == fingerprint(config(http__analytics_port=3001))
    assert fingerprint(config()) != fingerprint(config(ingest__past_max_days=399))
    assert fingerprint(config()) == fingerprint(config(postgres__url="postgresql://me:secret@db/x"))
