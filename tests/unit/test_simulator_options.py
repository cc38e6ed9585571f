"""The command line and the environment."""

from dataclasses import asdict, fields
from typing import Any

import pytest
from click.testing import CliRunner, Result

import simulator.cli
from simulator.options import Options


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What a run would have been started with."""
    runs: list[Options] = []

    async def main(options: Options) -> int:
        runs.append(options)
        return 0

    monkeypatch.setattr(simulator.cli, "main", main)
    return runs


def invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(simulator.cli.simulate, list(arguments))


def test_every_option_is_on_the_command_line_with_the_declared_default(given: list[Options]) -> None:
    assert invoke().exit_code == 0
    assert given == [Options()]
    text = invoke("--help").output
    for declared in fields(Options):
        assert "--" + declared.name.replace("_", "-") in text


def test_the_environment_of_the_first_simulator(given: list[Options]) -> None:
    result = invoke(API_URL="http://h:1", NUM_DEVICES="7", INTERVAL_MS="500", FAST_MODE="true")
    assert result.exit_code == 0, result.output
    assert asdict(given[0]) == asdict(Options(url="http://h:1", devices=7, interval_ms=500, fast=True))


def test_the_command_line_wins_over_the_environment(given: list[Options]) -> None:
    assert invoke("--devices", "3", NUM_DEVICES="7", FAST_MODE="false").exit_code == 0
    assert (given[0].devices, given[0].fast) == (3, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "ftp://host"],
        ["--ca", "/dev/null"],
        ["--url", "https://host", "--ca", "/nowhere"],
        ["--url", "https://host", "--ca", "/dev/null"],
        ["--url", "https://host", "--certificate", "/dev/null"],
        ["--key", "two words"],
        ["--key", "line\nX-Other: 1"],
        ["--key", "ä"],
        ["--devices", "0"],
        ["--faulty-share", "1.5"],
        ["--late-share", "0.6", "--malformed-share", "0.6"],
        ["--fast", "--backfill-hours", "1"],
        ["--start", "2026-02-09T12:00:00"],
        ["--start", "yesterday"],
        ["--prefer", "maybe"],
        ["--history", "0.001"],
    ],
)
def test_options_that_make_no_sense_end_with_one_line(arguments: list[str], given: list[Options]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Error:" in result.output
    assert given == []


@pytest.mark.parametrize(("start", "expected"), [(None, 5), ("1970-01-01T01:00:01.5+01:00", 1500)])
def test_what_the_fleet_takes_for_now(start: Any, expected: int) -> None:
    assert Options(start=start).start_ms(5) == expected
