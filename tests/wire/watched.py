"""A node that is watched while it is sent what nobody should send."""

import json
from collections import Counter
from collections.abc import Iterable

from hseie.journal_file import journal_files, read_journal
from hseie.problems import CONTENT_TYPE, PROBLEMS
from hseie.readings import KINDS
from tests.system.node import Node, eventually, is_running
from tests.wire.exchange import Reply
from tests.wire.lines import stored_sql

_HARMLESS = ("debug", "info", "warning")


class Watched:
    """A node, its processes, what it has logged so far, and what it holds."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._pids = node.children()
        self._log_read = 0
        self._new_log_lines()

    def journaled(self) -> int:
        """Frames that the journals have ever taken."""
        return sum(read_journal(file, {}).last_seq for file in journal_files(self.node.data / "journal"))

    def _new_log_lines(self) -> list[str]:
        with (self.node.folder / "stderr").open(errors="replace") as log:
            log.seek(self._log_read)
            lines = log.read().splitlines()
            self._log_read = log.tell()
        return lines

    def check(self, unwanted: Iterable[str] = ()) -> None:
        """No process has ended, nothing was logged as an error, and nothing that has an unwanted text in it."""
        lines = self._new_log_lines()
        gone = [name for name, pid in self._pids.items() if not is_running(pid)]
        assert not gone, (gone, lines)
        noise = [line for line in lines if not line.startswith("{") or json.loads(line)["level"] not in _HARMLESS]
        assert not noise
        assert not [line for line in lines for text in unwanted if text in line]

    def history(self) -> Counter[str]:
        """All lines of history (`tests.wire.lines`)."""
        return Counter(row[0] for kind in KINDS for row in self.node.sql(stored_sql(kind)))

    def check_history(self, promised: Counter[str], possible: frozenset[str] = frozenset()) -> None:
        """History has what was promised, so many times, and besides it what was possible, once; the books balance."""
        eventually(lambda: not promised - self.history(), "everything that was promised is in history")
        surplus = self.history() - promised
        assert not {line: times for line, times in surplus.items() if times > 1 or line not in possible}
        audit = self.node.audit()
        assert audit["differences"] == []
        assert {counts["dead_lettered"] for counts in audit["kinds"].values()} == {0}
        assert not [row for row in self.node.status()["processes"] if row["restarts"]]
        self.check()


def check_form(reply: Reply, *, with_body: bool = True) -> None:
    """An answer has the form that all answers have: errors are problems, and only what may be retried says when."""
    retry_after = reply.headers.get("Retry-After")
    if reply.status in (429, 502, 503, 504):
        assert 1 <= int(retry_after or 0) <= 60
    else:
        assert retry_after is None
    if reply.status < 400:
        return
    assert reply.content_type == CONTENT_TYPE, reply.raw
    if with_body:
        document = reply.document
        problem = PROBLEMS[document["code"]]
        assert (document["status"], document["title"]) == (problem.status, problem.title)
        assert problem.status == reply.status
        assert document["detail"]
        assert all(error["code"] and error["detail"] for error in document.get("errors", ()))
