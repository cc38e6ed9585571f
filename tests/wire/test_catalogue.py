"""Every row of the catalogue against a running node, as raw bytes.

After each row: the answer is the one of the row, in the form that all answers have; nothing of the sender's text stands
in it; the journals have grown if and only if something was taken; every process lives its first life; nothing was
logged as an error. At the end history holds exactly the lines of the rows, and the audit balances.
"""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from hseie.journal_file import journal_files, read_journal
from hseie.problems import CONTENT_TYPE, PROBLEMS
from hseie.readings import KINDS
from tests.system.conftest import Stage
from tests.system.node import Node, eventually, is_running
from tests.wire import batches, requests
from tests.wire.catalogue import ROWS
from tests.wire.exchange import Connection, Reply
from tests.wire.lines import stored_sql
from tests.wire.row import MARKER, Row, whole_second

RETRYABLE = (429, 502, 503, 504)
LIMITS = {
    "HSEIE_HTTP__BATCH_READINGS_MAX": str(batches.READINGS_MAX),
    "HSEIE_HTTP__BODY_BYTES_MAX": str(requests.BODY_BYTES_MAX),
    "HSEIE_LOG__FORMAT": "json",
}


class Bench:
    """A node, what it should have in its history by now, and what it has said so far."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.pids = node.children()
        self.expected: Counter[str] = Counter()
        self._log_read = 0

    def journaled(self) -> int:
        """Frames that the journals have ever taken."""
        return sum(read_journal(file, {}).last_seq for file in journal_files(self.node.data / "journal"))

    def new_log_lines(self) -> list[str]:
        with (self.node.folder / "stderr").open(errors="replace") as log:
            log.seek(self._log_read)
            lines = log.read().splitlines()
            self._log_read = log.tell()
        return lines

    def check_health(self) -> None:
        """No process has ended, nothing was logged as an error, nothing of the sender's stands in the log."""
        gone = [name for name, pid in self.pids.items() if not is_running(pid)]
        lines = self.new_log_lines()
        assert not gone, (gone, lines)
        noise = [
            line
            for line in lines
            if not line.startswith("{") or json.loads(line)["level"] not in ("debug", "info", "warning")
        ]
        assert not noise
        assert not [line for line in lines if MARKER in line]

    def history(self) -> Counter[str]:
        """All lines of history, as rows state them."""
        found: Counter[str] = Counter()
        for kind in KINDS:
            rows = self.node.sql(stored_sql(kind))
            found.update(" ".join(row) for row in rows)
        return found


@pytest.fixture(scope="module")
def bench(module_stage: Stage, new_database: Callable[[], str]) -> Bench:
    bench = Bench(module_stage.node("catalogue", DATABASE_URL=new_database(), **LIMITS).start())
    bench.new_log_lines()
    return bench


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_a_row(row: Row, bench: Bench) -> None:
    before = bench.journaled()
    now = whole_second()
    with Connection(bench.node.port) as connection:
        reply = connection.ask(row.request(now), row.method)
        said_close = reply.headers.get("Connection", "").lower() == "close"
        bench.expected.update(row.stored_lines(now))
        check_reply(row, reply)
        assert said_close == row.closed
        assert connection.is_open() != row.closed
    assert (bench.journaled() > before) == bool(row.stores)
    bench.check_health()


def check_reply(row: Row, reply: Reply) -> None:
    """The answer is that of the row, and has the form that every answer has."""
    assert reply.status == row.status, reply.raw
    for text in row.answer_has:
        assert text in reply.raw
    retry_after = reply.headers.get("Retry-After")
    if reply.status in RETRYABLE:
        assert 1 <= int(retry_after or 0) <= 60
    else:
        assert retry_after is None
    if reply.status >= 400:
        assert reply.content_type == CONTENT_TYPE
        assert MARKER not in reply.raw
        assert row.device not in reply.raw
        if row.method != "HEAD":
            check_problem(row, reply)
    elif row.method == "POST":
        check_taken(row, reply)


def check_problem(row: Row, reply: Reply) -> None:
    problem = PROBLEMS[row.code]
    document = reply.document
    assert {name: document[name] for name in ("status", "code", "title")} == {
        "status": problem.status,
        "code": problem.code,
        "title": problem.title,
    }
    assert problem.status == reply.status
    assert document["detail"]
    assert places(document) == sorted(row.errors)
    check_counts(row, document)


def check_taken(row: Row, reply: Reply) -> None:
    assert reply.content_type.startswith("application/json")
    document = reply.document
    assert places(document) == sorted(row.errors)
    check_counts(row, document)
    if row.counts is None:
        assert document["success"] is True


def check_counts(row: Row, document: dict[str, object]) -> None:
    if row.counts is not None:
        assert tuple(document[name] for name in ("accepted", "duplicates", "rejected")) == row.counts


def places(document: dict[str, object]) -> list[str]:
    """The errors of an answer, as rows state them."""
    errors = document.get("errors", [])
    assert isinstance(errors, list)
    assert all(error["detail"] for error in errors)
    return sorted(
        f"{error['index']} {error.get('pointer', '')} {error['code']}"
        if "index" in error
        else f"{error.get('pointer', '')} {error['code']}"
        for error in errors
    )


def test_the_rows_have_names_and_devices_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) == len({row.device for row in ROWS})
    assert len(ROWS) > 400


def test_history_holds_what_was_taken_and_nothing_else(bench: Bench) -> None:
    """Runs behind the rows, whichever of them ran."""
    eventually(lambda: bench.history().total() >= bench.expected.total(), "everything that was taken is in history")
    assert bench.history() == bench.expected
    audit = bench.node.audit()
    assert audit["differences"] == []
    assert {kind: counts["dead_lettered"] for kind, counts in audit["kinds"].items()} == dict.fromkeys(
        audit["kinds"], 0
    )
    assert not [row for row in bench.node.status()["processes"] if row["restarts"]]
    bench.check_health()
