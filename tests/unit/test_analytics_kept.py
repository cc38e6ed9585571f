"""Values that are kept while they are true: computed once, one at a time, and not without end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hseie.analytics.kept import KeptWhileTrue


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
