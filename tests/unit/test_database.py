"""What a database error asks for, and the statements from files."""

import asyncio
import gc
from types import SimpleNamespace

import asyncpg
import pytest

from hseie.database import Failure, classify, statement, within
from hseie.errors import DatabaseUnavailableError, FencedError
from hseie.readings import METER


def _error(sqlstate: str, table: str | None = None, constraint: str | None = None) -> asyncpg.PostgresError:
    fields = {"C": sqlstate, "M": "eine Meldung in irgendeiner Sprache"}
    if table:
        fields["t"] = table
    if constraint:
        fields["n"] = constraint
    return asyncpg.PostgresError.new(fields)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (_error("23514", "meter_history"), Failure.NO_PARTITION),  # names no constraint, in whatever language
        (_error("23514", "meter_history", "kwh_is_positive"), Failure.REFUSED),
        (_error("23514"), Failure.REFUSED),  # raised by a trigger
        (_error("P0001"), Failure.REFUSED),
        (_error("22003"), Failure.REFUSED),
        (_error("40P01"), Failure.RETRY),
        (_error("55P03"), Failure.RETRY),
        (_error("57P01"), Failure.UNAVAILABLE),
        (_error("53300"), Failure.UNAVAILABLE),
        (_error("25006"), Failure.UNAVAILABLE),
        (_error("42P01"), Failure.SCHEMA),
        (_error("42501"), Failure.SCHEMA),
        (ConnectionResetError(), Failure.UNAVAILABLE),
        (TimeoutError(), Failure.UNAVAILABLE),
        (asyncpg.InterfaceError("connection is closed"), Failure.UNAVAILABLE),
        (asyncpg.InternalClientError("cannot switch to state 15"), Failure.UNAVAILABLE),
        (DatabaseUnavailableError(), Failure.UNAVAILABLE),
        (FencedError(), Failure.SCHEMA),
    ],
)
def test_errors_are_told_apart_by_their_code(error: BaseException, failure: Failure) -> None:
    assert classify(error) is failure


def test_a_statement_of_a_kind_has_its_names() -> None:
    text = statement("changed_merge", METER)
    assert "INSERT INTO meter_current" in text
    assert "kwh_consumed_ac = excluded.kwh_consumed_ac" in text
    assert "{" not in text


def test_an_unknown_statement_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        statement("no_such_statement")


async def test_what_work_says_to_being_cut_off_is_not_reported() -> None:
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    cut = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise asyncpg.InterfaceError("the underlying connection is closed")  # as asyncpg's transactions do

    with pytest.raises(TimeoutError, match="did not answer"):
        await within(0.01, SimpleNamespace(terminate=lambda: cut.append(True)), work())
    gc.collect()
    assert (cut, complaints) == ([True], [])
