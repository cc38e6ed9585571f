"""Values that are kept while they are true: computed once, one at a time, and not without end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hseie.analytics import kept as kept_module
from hseie.analytics.kept import WAITING_MAX, Kept, KeptWhileTrue
from hseie.analytics.reader import TooManyQueriesError
from hseie.errors import DatabaseUnavailableError


class Work:
    """Counts what is computed, and how much of it at once."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    def of(self, key: str) -> Callable[[], Awaitable[str]]:
        async def compute() -> str:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(0)
            self.at_once -= 1
            self.done.append(key)
            return key.upper()

        return compute


async def test_a_value_is_computed_once_and_others_one_after_the_other() -> None:
    kept: KeptWhileTrue[str, str] = KeptWhileTrue(10)
    work = Work()
    found = await asyncio.gather(*(kept.value(key, work.of(key)) for key in "abcabcabc"))
    assert found == list("ABCABCABC")
    assert sorted(work.done) == ["a", "b", "c"]
    assert work.most_at_once == 1


async def test_the_one_that_was_not_asked_for_longest_goes() -> None:
    kept: KeptWhileTrue[str, str] = KeptWhileTrue(2)
    work = Work()
    for key in "abacaca":
        await kept.value(key, work.of(key))
    assert work.done == ["a", "b", "c"]
    await kept.value("b", work.of("b"))
    assert work.done[-1] == "b"


async def test_who_waited_for_a_value_gets_it_also_when_it_went_at_once() -> None:
    kept: KeptWhileTrue[str, str] = KeptWhileTrue(1)
    work = Work()
    keys = "ababab"
    assert await asyncio.gather(*(kept.value(key, work.of(key)) for key in keys)) == list(keys.upper())


async def test_a_failure_is_not_kept() -> None:
    kept: KeptWhileTrue[str, str] = KeptWhileTrue(2)

    async def fail() -> str:
        raise OSError

    with pytest.raises(OSError):
        await kept.value("a", fail)
    assert await kept.value("a", Work().of("a")) == "A"


async def test_so_many_may_wait_and_no_more() -> None:
    kept: KeptWhileTrue[str, str] = KeptWhileTrue(1000)
    work = Work()
    keys = [str(number) for number in range(WAITING_MAX + 3)]
    found = await asyncio.gather(*(kept.value(key, work.of(key)) for key in keys), return_exceptions=True)
    assert [one for one in found if isinstance(one, str)] == keys[:WAITING_MAX]
    assert [type(one) for one in found[WAITING_MAX:]] == [TooManyQueriesError] * 3
    assert await kept.value("0", work.of("0")) == "0", "what is there is told all the same"
    assert await kept.value("late", work.of("late")) == "LATE", "and the others have left the queue"


class Clock:
    """Moves by what is said to be taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.tries = 0
        self.fails = True
        monkeypatch.setattr(kept_module.time, "monotonic", lambda: self.now)

    async def compute(self) -> int:
        self.tries += 1
        self.now += 1.0
        if self.fails:
            raise DatabaseUnavailableError("cancelled")
        return self.tries


async def test_a_costly_failure_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    kept = Kept(clock.compute, costly=True)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            await kept.value()
    assert clock.tries == 1
    clock.now += 19.9
    with pytest.raises(DatabaseUnavailableError):
        await kept.value()
    assert clock.tries == 1
    clock.now += 0.2
    clock.fails = False
    assert await kept.value() == 2
    clock.now += 20.1
    assert await kept.value() == 3


async def test_other_failures_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    kept = Kept(clock.compute)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            await kept.value()
    assert clock.tries == 3
