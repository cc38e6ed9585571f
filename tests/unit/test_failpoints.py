"""Failpoints do what they are told, once, and nothing at all when nobody asks."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hseie import clock, failpoints
from hseie.errors import ConfigError
from hseie.failpoints import POINTS, Rule, arm, parse, reach

HSEIE = Path(failpoints.__file__).parent


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("", {})
    clock.arm({})


def test_every_point_is_in_the_code_once_or_more_and_no_other_is() -> None:
    code = "".join(file.read_text() for file in HSEIE.rglob("*.py") if file.name != "failpoints.py")
    assert set(re.findall(r'failpoints\.reach\("([^"]+)"\)', code)) == set(POINTS)


def test_rules_are_read() -> None:
    assert parse("writer-0/flush.in_copy:exit=3@2, acceptor.acked:kill") == [
        Rule("writer-0", "flush.in_copy", "exit=3", 2),
        Rule("", "acceptor.acked", "kill", 1),
    ]


@pytest.mark.parametrize("text", ["acceptor.acked", "nowhere:kill", "acceptor.acked:explode", "acceptor.acked:kill@0"])
def test_a_misspelt_rule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no rule"):
        parse(text)


def test_unarmed_nothing_happens() -> None:
    assert arm("writer-0", {}) == ""
    assert failpoints._reach is failpoints._nothing
    reach("journal.after_commit")


@pytest.mark.parametrize(("process", "fires"), [("writer-0", True), ("writer-1", True), ("acceptor-0", False)])
def test_a_rule_concerns_a_process_its_role_or_any(process: str, fires: bool) -> None:
    arm(process, {failpoints.VARIABLE: "writer/journal.after_commit:error=EIO"})
    if fires:
        with pytest.raises(OSError, match="ordered by HSEIE_FAIL"):
            reach("journal.after_commit")
    reach("journal.after_commit")  # at the second time it is past


def test_only_the_nth_time_counts() -> None:
    arm("writer-0", {failpoints.VARIABLE: "journal.after_commit:error=ENOSPC@3"})
    reach("journal.after_commit")
    reach("journal.before_commit")
    reach("journal.after_commit")
    with pytest.raises(OSError):
        reach("journal.after_commit")


def test_with_marks_a_rule_fires_once_for_all_lives(tmp_path: Path) -> None:
    environ = {failpoints.VARIABLE: "writer/journal.after_commit:error=EIO", failpoints.MARKS_VARIABLE: str(tmp_path)}
    arm("writer-1", environ)
    with pytest.raises(OSError):
        reach("journal.after_commit")
    assert [mark.name for mark in tmp_path.iterdir()] == ["writer journal.after_commit"]
    arm("writer-0", environ)
    reach("journal.after_commit")


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit=7", 7)])
def test_a_process_ends_as_it_is_told(action: str, code: int) -> None:
    program = (
        "import os; from hseie import failpoints; failpoints.arm('x', os.environ); failpoints.reach('writer.start')"
    )
    environ = os.environ | {failpoints.VARIABLE: f"writer.start:{action}"}
    assert subprocess.run([sys.executable, "-c", program], env=environ, check=False).returncode == code


def test_the_clock_of_a_node_can_be_set_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    clock.arm({clock.VARIABLE: str(file)})
    machine = clock.unix_s()
    file.write_text("3600")
    assert clock.unix_s() - machine == pytest.approx(3600, abs=60)
    file.write_text("-3600")
    assert (clock.utc_now().timestamp()) - machine == pytest.approx(-3600, abs=60)
