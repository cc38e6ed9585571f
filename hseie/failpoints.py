"""Places in our own code where a test can make this process fail; an environment variable arms them.

    HSEIE_FAIL="journal.after_commit:kill@3, acceptor-1/acceptor.acked:sleep=2"

A rule is `[process/]point:action[@n]`: at the n-th time (from 1, the default) that the process (its name, or its role:
`writer-0`, `writer`; without one, any) reaches the point. The actions are

    kill        SIGKILL, as by the kernel when memory is short
    exit=N      end at once with that code
    stop        SIGSTOP: stands still until somebody continues it
    sleep=S     the thread blocks for S seconds, once
    error=NAME  raise OSError with that errno, for example EIO

With HSEIE_FAIL_MARKS=<folder> each rule fires once in the life of a whole node, not once a process, and leaves a file
`<process> <point>` there: so a test knows that its fault did happen, and a restarted process lives. Unset, a point
costs the call of an empty function (50 ns), a few times a frame or request and never a reading.
"""

import errno
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hseie.errors import ConfigError

VARIABLE = "HSEIE_FAIL"
MARKS_VARIABLE = "HSEIE_FAIL_MARKS"

# All points, so that a misspelt one is refused instead of silently never reached. A test compares them with the code.
POINTS = {
    "acceptor.body_read": "an acceptor has a request's body, and has sent nothing on",
    "acceptor.frame_sent": "a frame was given to the socket",
    "acceptor.acked": "the writer's acknowledgement has come, no request knows of it",
    "acceptor.before_answer": "the answer to a request is made and not sent",
    "writer.start": "before the journal is opened",
    "journal.before_commit": "a group is written and not committed (in the journal's thread)",
    "journal.after_commit": "a group is durable, nobody was told (in the journal's thread)",
    "journal.read": "a frame is read back from the journal (in the journal's other thread)",
    "flush.in_copy": "a piece of a COPY into history is about to be sent",
    "flush.before_commit": "all of a flush is done but its COMMIT",
    "flush.after_commit": "a flush is committed, and this process does not know it yet",
    "maintenance.round": "a round of maintenance begins",
    "archive.in_copy": "a piece of a day comes from history and is about to go to its file",
    "archive.file_written": "a day's file is whole, and neither verified, synced nor named",
    "archive.file_named": "a day's file has its name, and no row of archive_part tells of it",
    "archive.noted": "a part is noted, its rows are in history too",
    "archive.before_drop": "all of the dropping of a day is done but its COMMIT",
    "archive.after_drop": "a day is dropped from history, and this process does not know it yet",
    "archive.in_restore": "a piece of a file is about to go back into history",
    "rollup.closed": "hours are closed, and not rolled up",
    "rollup.portion": "a part of a span of hours is rolled up and committed",
    "rollup.before_commit": "buckets of marks are made anew, all but the COMMIT",
    "analytics.query": "a query is about to be sent",
}

_RULE = re.compile(
    r"(?:(?P<process>[a-z]+(?:-[0-9]+)?)/)?(?P<point>[a-z_.]+):"
    r"(?P<action>kill|stop|exit=[0-9]{1,3}|sleep=[0-9.]+|error=E[A-Z0-9]+)(?:@(?P<nth>[1-9][0-9]*))?"
)


@dataclass(frozen=True)
class Rule:
    """What to do at the `nth` time that a process reaches a point; an empty `process` is any."""

    process: str
    point: str
    action: str
    nth: int


def parse(text: str) -> list[Rule]:
    """Return the rules of HSEIE_FAIL. Raises ConfigError for what is none of them."""
    rules = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _RULE.fullmatch(item)
        if match is None or match["point"] not in POINTS:
            raise ConfigError(
                f"{VARIABLE}: {item!r} is no rule, which is [process/]point:action[@n] (hseie/failpoints.py)"
            )
        rules.append(Rule(match["process"] or "", match["point"], match["action"], int(match["nth"] or 1)))
    return rules


class _Armed:
    """The rules that concern this process, and how often each point was reached."""

    def __init__(self, process: str, rules: list[Rule], marks: Path | None) -> None:
        self._process = process
        self._rules = [rule for rule in rules if rule.process in ("", process, process.rpartition("-")[0])]
        self._marks = marks
        self._reached: dict[str, int] = {}

    def reach(self, point: str) -> None:
        count = self._reached[point] = self._reached.get(point, 0) + 1
        for rule in self._rules:
            if rule.point == point and rule.nth == count and self._is_first(rule):
                _do(rule.action)

    def _is_first(self, rule: Rule) -> bool:
        """Leave the mark of a rule; False where an earlier life, or another process of the role, left it before."""
        if self._marks is None:
            return True
        try:
            # One mark a rule: whoever makes it first, fires.
            with (self._marks / f"{rule.process or 'any'} {rule.point}").open("x") as mark:
                mark.write(f"{self._process} {os.getpid()}\n")
        except FileExistsError:
            return False
        return True


def _do(action: str) -> None:
    name, _, value = action.partition("=")
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # the signal is on its way; nothing more may happen here
    elif name == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif name == "exit":
        os._exit(int(value))
    elif name == "sleep":
        time.sleep(float(value))
    else:
        number = getattr(errno, value)
        raise OSError(number, f"{os.strerror(number)} (ordered by {VARIABLE})")


def _nothing(point: str) -> None:
    """No failpoint is armed."""


_reach: Callable[[str], None] = _nothing


def reach(point: str) -> None:
    """Say that this process is at a point; usually nothing happens."""
    _reach(point)


def arm(process: str, environ: Mapping[str, str]) -> str:
    """Arm what the environment asks for in this process, named `process`; return the text of it, empty for nothing.

    Raises ConfigError for a rule that is none.
    """
    global _reach
    text = environ.get(VARIABLE, "")
    marks = environ.get(MARKS_VARIABLE)
    _reach = _Armed(process, parse(text), Path(marks) if marks else None).reach if text.strip() else _nothing
    return text
