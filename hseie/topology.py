"""Which processes a configuration asks for, and in which order they start and stop. The only importer of the roles.

Start: one-shot steps (migrations, journals of another number of shards), then writers, then analytics and maintenance,
then acceptors, so that whoever takes readings finds somebody to give them to. Stop: the acceptors first. A reload
replaces them in the order of the start.
"""

import hseie.acceptor.service
import hseie.analytics.service
import hseie.maintenance.migrate
import hseie.maintenance.service
import hseie.writer.reshard
import hseie.writer.service
from hseie.config import Config
from hseie.ports import Listeners
from hseie.process import ProcessSpec
from hseie.supervisor.supervisor import Plan

STOP_ORDER = ("acceptor", "writer", "analytics", "maintenance")


def plan(config: Config, postgres_url: str, listeners: Listeners) -> Plan:
    """Return the processes of a node, which inherit the sockets of `listeners`.

    Looks into the journal folder for journals of another number of shards.
    """
    journals = config.data_dir / "journal"
    stale = bool(hseie.writer.reshard.stale_journals(journals, config.writer.shards))
    stages = [
        *once(config, postgres_url, stale_journals=stale),
        writers(config, postgres_url),
        [analytics(postgres_url, listeners), maintenance(postgres_url)],
        acceptors(config, listeners),
    ]
    return Plan(stages, STOP_ORDER)


def migrates(config: Config) -> bool:
    """Tell whether a start applies the migrations: to the embedded server on its own, elsewhere only when told to."""
    return config.postgres.migrate == "always" or (config.postgres.migrate == "auto" and not config.postgres.url)


def once(config: Config, postgres_url: str, *, stale_journals: bool) -> list[list[ProcessSpec]]:
    """Return the steps before the first writer, a stage each. Without any, a node starts with PostgreSQL away too."""
    stages = []
    if migrates(config):
        migrate = hseie.maintenance.migrate.serve
        stages.append([ProcessSpec("migrate", "migrate", migrate, (postgres_url,), once=True)])
    if stale_journals:
        reshard = hseie.writer.reshard.serve
        stages.append([ProcessSpec("reshard", "reshard", reshard, (postgres_url,), once=True)])
    return stages


def writers(config: Config, postgres_url: str) -> list[ProcessSpec]:
    serve = hseie.writer.service.serve
    return [
        ProcessSpec(f"writer-{shard}", "writer", serve, (postgres_url, shard), jointly=True)
        for shard in range(config.writer.shards)
    ]


def acceptors(config: Config, listeners: Listeners) -> list[ProcessSpec]:
    serve = hseie.acceptor.service.serve
    sockets = listeners.of_acceptors(config.http.acceptors)
    neighbours = [*sockets[1:], *sockets[:1]] if len(sockets) > 1 else [[]]
    return [
        ProcessSpec(f"acceptor-{number}", "acceptor", serve, (number, sockets[number], neighbours[number]), beside=True)
        for number in range(len(sockets))
    ]


def analytics(postgres_url: str, listeners: Listeners) -> ProcessSpec:
    serve = hseie.analytics.service.serve
    return ProcessSpec("analytics", "analytics", serve, (postgres_url, listeners.of_analytics), beside=True)


def maintenance(postgres_url: str) -> ProcessSpec:
    return ProcessSpec("maintenance", "maintenance", hseie.maintenance.service.serve, (postgres_url,))
