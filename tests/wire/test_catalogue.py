"""Every row of the catalogue against a running node, as raw bytes.

After each row: the answer is the one of the row, in the form that all answers have; nothing of the sender's text stands
in it; the journals have grown if and only if something was taken; every process lives its first life; nothing was
logged as an error. At the end history holds exactly the lines of the rows, and the audit balances.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.system.conftest import Stage
from tests.system.node import Node
from tests.wire import batches, requests
from tests.wire.catalogue import ROWS
from tests.wire.exchange import Connection, Reply
from tests.wire.row import MARKER, Row, whole_second
from tests.wire.watched import Watched, check_form

LIMITS = {
    "HSEIE_HTTP__BATCH_READINGS_MAX": str(batches.READINGS_MAX),
    "HSEIE_HTTP__BODY_BYTES_MAX": str(requests.BODY_BYTES_MAX),
    "HSEIE_HTTP__BODY_TIMEOUT_S": "1",
    "HSEIE_LOG__FORMAT": "json",
}


class Desk:
    """A node that is watched, and what its history should have by now."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.watched = Watched(node)
        self.expected: Counter[str] = Counter()


@pytest.fixture(scope="module")
def desk(module_stage: Stage, new_database: Callable[[], str]) -> Desk:
    return Desk(module_stage.node("catalogue", DATABASE_URL=new_database(), **LIMITS).start())


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_a_row(row: Row, desk: Desk) -> None:
    before = desk.watched.journaled()
    now = whole_second()
    with Connection(desk.node.port) as connection:
        reply = connection.ask(row.request(now), row.method)
        desk.expected.update(row.stored_lines(now))
        check_reply(row, reply)
        assert reply.is_last == row.closed
        assert connection.is_open() != row.closed
    assert (desk.watched.journaled() > before) == bool(row.stores)
    desk.watched.check(unwanted=[MARKER, row.device])


def check_reply(row: Row, reply: Reply) -> None:
    """The answer is that of the row, and has the form that every answer has."""
    assert reply.status == row.status, reply.raw
    check_form(reply, with_body=row.method != "HEAD")
    for text in row.answer_has:
        assert text in reply.raw
    if reply.status >= 400:
        assert MARKER not in reply.raw
        assert row.device not in reply.raw
        if row.method != "HEAD":
            check_problem(row, reply)
    elif row.method == "POST":
        check_taken(row, reply)


def check_problem(row: Row, reply: Reply) -> None:
    document = reply.document
    assert document["code"] == row.code
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


def test_history_holds_what_was_taken_and_nothing_else(desk: Desk) -> None:
    """Runs behind the rows, whichever of them ran."""
    desk.watched.check_history(desk.expected)
