"""Nodes and fleets that end with their test, databases of their own, and a seed that is printed."""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from hseie import migrations
from hseie.database import with_connection
from hseie.embedded.server import EmbeddedPostgres

pytest.register_assert_rewrite("tests.system.ledger", "tests.system.node")  # before anybody imports them

from tests.system.node import Load, Node  # noqa: E402


class Stage:
    """Where a test plays: starts nodes and fleets, and ends them all."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self._nodes: list[Node] = []
        self._loads: list[Load] = []

    def node(self, name: str = "node", **environ: str) -> Node:
        """A node that is not started yet."""
        node = Node(self.folder / name, environ)
        self.adopt(node)
        return node

    def adopt(self, node: Node) -> None:
        """End this one too, at the end."""
        self._nodes.append(node)

    def load(self, node: Node, name: str = "load", **options: str | float) -> Load:
        """A fleet of single readings with everything that devices do: late, twice, garbled."""
        usual: dict[str, str | float] = {
            "devices": 100,
            "interval_ms": 400,
            "late_share": 0.05,
            "repeat_share": 0.05,
            "malformed_share": 0.02,
            "attempts": 30,
            "seed": self.seed,
        }
        load = Load(node, name, **(usual | options))
        self._loads.append(load)
        return load

    def clear(self) -> None:
        for load in self._loads:
            load.end()
        for node in self._nodes:
            node.end()
            print(f"--- log of {node.folder.name} ---\n{node.tail()}")  # shown by pytest when the test failed


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of this run; HSEIE_TEST_SEED repeats one."""
    return int(os.environ.get("HSEIE_TEST_SEED") or random.randrange(1_000_000))


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Stage]:
    """For what the tests of a file share."""
    stage = Stage(tmp_path_factory.mktemp("stage"), seed)
    yield stage
    stage.clear()


@pytest.fixture
def stage(tmp_path: Path, seed: int) -> Iterator[Stage]:
    print(f"HSEIE_TEST_SEED={seed}")
    stage = Stage(tmp_path, seed)
    yield stage
    stage.clear()


@pytest.fixture(scope="session")
def new_database(postgres_server_url: str, template_database: str) -> Iterator[Callable[[], str]]:
    """Makes migrated databases in the tests' server, for nodes that shall start quickly."""
    made: list[str] = []

    def execute(statement: str) -> None:
        async def work(connection: Any) -> None:
            await connection.execute(statement)

        asyncio.run(with_connection(postgres_server_url, "system tests", work))

    def make() -> str:
        name = f"hseie_system_{uuid4().hex}"
        execute(f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
        made.append(name)
        return urlunsplit(urlsplit(postgres_server_url)._replace(path=f"/{name}"))

    yield make
    for name in made:
        execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A migrated PostgreSQL that the test may stop and start again."""
    server = EmbeddedPostgres(tmp_path / "own-server")
    asyncio.run(with_connection(server.start(), "system tests", migrations.migrate))
    yield server
    server.stop()
