"""Rows that are asked for together: nobody waits for company, and what is answered was read after it was asked for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from hseie.analytics import together
from hseie.analytics.reader import TooManyQueriesError
from hseie.analytics.together import Together


class Database:
    """Answers when it is let; `asked` are the keys of each statement, `rows` what it knows."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.rows: dict[str, int] = {}
        self.open = asyncio.Event()
        self.failure: Exception | None = None

    async def ask(self, keys: Sequence[str]) -> Any:
        self.asked.append(keys)
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return [{"id": key, "value": self.rows[key]} for key in reversed(keys) if key in self.rows]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def begin(rows: Together, keys: str) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(rows.row(key)) for key in keys]


async def test_who_waits_is_asked_for_together() -> None:
    database = Database()
    database.rows = {"a": 1, "b": 2, "d": 4}
    rows = Together(database.ask, "id", statements=1, waiting_max=100)
    tasks = begin(rows, "a")
    await settle()
    assert database.asked == [["a"]], "nobody waits for company"
    tasks += begin(rows, "bcbd")
    await settle()
    assert database.asked == [["a"]]
    database.open.set()
    found = await asyncio.gather(*tasks)
    assert [row and row["value"] for row in found] == [1, 2, None, 2, 4]
    assert database.asked == [["a"], ["b", "c", "d"]]


async def test_so_many_statements_run_at_once() -> None:
    database = Database()
    rows = Together(database.ask, "id", statements=2, waiting_max=100)
    tasks = []
    for key in "abcd":
        tasks += begin(rows, key)
        await settle()
    assert database.asked == [["a"], ["b"]]
    database.open.set()
    await asyncio.gather(*tasks)
    assert database.asked == [["a"], ["b"], ["c", "d"]]


async def test_what_is_being_read_already_is_read_again() -> None:
    database = Database()
    database.rows = {"a": 1}
    rows = Together(database.ask, "id", statements=1, waiting_max=100)
    tasks = begin(rows, "a")
    await settle()
    tasks += begin(rows, "a")
    await settle()
    database.open.set()
    await asyncio.gather(*tasks)
    assert database.asked == [["a"], ["a"]]


async def test_a_failure_reaches_those_who_were_asked_for_and_no_others() -> None:
    database = Database()
    rows = Together(database.ask, "id", statements=1, waiting_max=100)
    database.failure = ValueError("away")
    tasks = begin(rows, "ab")
    await settle()
    database.open.set()
    assert [repr(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == ["ValueError('away')"] * 2
    database.failure = None
    database.rows = {"a": 1}
    found = await rows.row("a")
    assert found is not None


async def test_who_leaves_does_not_take_the_answer_from_others() -> None:
    database = Database()
    database.rows = {"a": 1, "b": 2}
    rows = Together(database.ask, "id", statements=1, waiting_max=100)
    first, *others = begin(rows, "abb")
    await settle()
    first.cancel()
    others[0].cancel()
    database.open.set()
    found = await others[1]
    assert found is not None
    assert found["value"] == 2


async def test_no_more_wait_than_may_and_no_more_are_asked_for_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "TOGETHER_MAX", 2)
    database = Database()
    rows = Together(database.ask, "id", statements=1, waiting_max=3)
    tasks = begin(rows, "x")
    await settle()
    tasks += begin(rows, "abc")
    await settle()
    with pytest.raises(TooManyQueriesError):
        await rows.row("d")
    same = begin(rows, "a")  # takes no place
    database.open.set()
    await asyncio.gather(*tasks, *same)
    assert database.asked == [["x"], ["a", "b"], ["c"]]


@pytest.mark.parametrize("count", [1, 3])
async def test_an_end_is_an_end_for_all(count: int) -> None:
    database = Database()
    rows = Together(database.ask, "id", statements=1, waiting_max=9)
    tasks = begin(rows, "abc"[:count])
    await settle()
    (work,) = rows._running
    work.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
