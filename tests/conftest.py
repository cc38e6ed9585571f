"""What tests of every folder share: a PostgreSQL, and a fresh migrated database in it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from hseie import migrations
from hseie.database import with_connection
from hseie.embedded.server import EmbeddedPostgres


def database_at(server_url: str, name: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


async def execute(url: str, statement: str) -> None:
    async def work(connection: Any) -> None:
        await connection.execute(statement)

    await with_connection(url, "tests", work)


@pytest.fixture(scope="session")
def postgres_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server: that of HSEIE_TEST_POSTGRES_URL, or an embedded one for this run."""
    given = os.environ.get("HSEIE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def template_database(postgres_server_url: str) -> Iterator[str]:
    """The name of a database with all migrations applied, from which the tests' own are copied in 50 ms each."""
    name = f"hseie_template_{uuid4().hex}"
    asyncio.run(execute(postgres_server_url, f'CREATE DATABASE "{name}"'))
    asyncio.run(with_connection(database_at(postgres_server_url, name), "tests", migrations.migrate))
    yield name
    asyncio.run(execute(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def database_url(postgres_server_url: str, template_database: str) -> AsyncIterator[str]:
    """The address of a fresh database with all migrations applied; gone after the test."""
    name = f"hseie_test_{uuid4().hex}"
    await execute(postgres_server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    yield database_at(postgres_server_url, name)
    await execute(postgres_server_url, f'DROP DATABASE "{name}" WITH (FORCE)')
