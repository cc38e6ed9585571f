"""The one-shot step before the first writer: migrations, and the partitions that the first flush will need."""

import asyncio

from hseie import clock, database, migrations
from hseie.config import Config
from hseie.database import Failure
from hseie.errors import DatabaseUnavailableError
from hseie.maintenance.partitions import days_needed, make_partitions, open_connection
from hseie.process import Child

_RETRY_S = 1.0


async def serve(child: Child, config: Config, postgres_url: str) -> None:
    """Do the step, waiting for PostgreSQL as long as it takes. Raises MigrationError, which ends the node."""
    said = ""
    while not child.stopping.is_set():
        try:
            await _migrate(child, config, postgres_url)
            await _make_partitions(child, config, postgres_url)
        except (DatabaseUnavailableError, database.PostgresError, OSError, TimeoutError) as error:
            if database.classify(error) not in (Failure.UNAVAILABLE, Failure.RETRY):
                raise
            # Said again only when the reason is another one: `hseie status` shows that it is still waited for.
            if str(error) != said:
                said = str(error)
                child.log.warning("database_away", reason=said, retry_s=_RETRY_S)
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def _migrate(child: Child, config: Config, postgres_url: str) -> None:
    # Without a lock_timeout: of several nodes that start at once, one migrates and the others wait for it.
    connect_timeout_s = config.postgres.connect_timeout_ms / 1000
    applied = await database.with_connection(postgres_url, "hseie migrate", migrations.migrate, connect_timeout_s)
    for migration in applied:
        child.log.info("migration_applied", migration=migration.name)


async def _make_partitions(child: Child, config: Config, postgres_url: str) -> None:
    connection = await open_connection(config, postgres_url)
    try:
        days = days_needed(clock.utc_now(), config.maintenance.partitions_ahead_days)
        outcome = await make_partitions(connection, days)
    finally:
        await database.close(connection)
    if outcome.made:
        child.log.info("partitions_made", partitions=outcome.made)
    if outcome.postponed:
        child.log.warning("partitions_postponed", partitions=outcome.postponed, because="locked")
