"""What tests of this folder share."""

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop for what hypothesis calls, which is no coroutine."""
    with asyncio.Runner() as runner:
        yield runner
