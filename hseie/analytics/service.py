"""The analytics process: answers every GET from PostgreSQL and the supervisor's snapshot, and changes pairings."""

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from hseie import clock
from hseie import web as http
from hseie.admission import KEY_LIMITS, Doorman, key_figures, open_door, watch
from hseie.analytics.alerts import AlertsRoute
from hseie.analytics.audits import AuditRoute
from hseie.analytics.current import CurrentRoute
from hseie.analytics.entrance import entrance
from hseie.analytics.fleet import FleetRoute
from hseie.analytics.health import HealthRoutes
from hseie.analytics.history import HistoryRoute
from hseie.analytics.live import LISTENERS_MAX, LiveRoute
from hseie.analytics.metrics import MetricsRoute
from hseie.analytics.node import NodeView
from hseie.analytics.pages import Route, page_routes
from hseie.analytics.pairs import PairsRoutes
from hseie.analytics.performance import PerformanceRoute
from hseie.analytics.query import BadParameterError
from hseie.analytics.reader import Reader, TooManyQueriesError, figures
from hseie.analytics.receipts import ReceiptRoutes
from hseie.analytics.sums import VehicleSums
from hseie.analytics.waiting import Waiting
from hseie.archive import Archive
from hseie.config import Config
from hseie.errors import ArchiveUnavailableError, DatabaseUnavailableError, NotReachableError
from hseie.http_server import Server, start_server
from hseie.process import Child
from hseie.readings import KINDS
from hseie.tls import Certificates, certificate_figures, open_certificates

STOP_TIMEOUT_S = 5.0
HAND_OVER_S = 2.0
QUICK_CONNECTIONS = 2
BODY_BYTES_MAX = 65_536  # of those that take one, each has a smaller limit of its own


@dataclass(frozen=True)
class Parts:
    """What the routes work with. `probe` is a reader with a connection of its own, for the health checks.

    `doorman` asks for keys; without one everybody may ask. `quick` is a reader for what takes a moment, so that it does
    not wait behind what takes long, and `at_once` the one for the energy of a vehicle as far as a single statement says
    it; without them, `reader` is.
    """

    config: Config
    reader: Reader
    probe: Reader
    node: NodeView
    now: Callable[[], datetime]
    postgres_url: str
    doorman: Doorman | None = None
    quick: Reader | None = None
    at_once: Reader | None = None


async def serve(child: Child, config: Config, postgres_url: str, listening: Sequence[socket.socket] = ()) -> None:
    """Be the analytics process until `child.stopping`, on the sockets given or a port of its own.

    Raises PortTakenError.
    """
    reader = await Reader.open(config, postgres_url, child.name, config.analytics.connections)
    probe = await Reader.open(config, postgres_url, f"{child.name}-health", 1)
    quick = await Reader.open(config, postgres_url, f"{child.name}-current", QUICK_CONNECTIONS, keeps_plans=True)
    at_once = await Reader.open(
        config, postgres_url, f"{child.name}-performance", config.analytics.connections, keeps_plans=True
    )
    doorman = open_door(config, child.run_dir)
    certificates = open_certificates(config.tls)
    view = NodeView(child.node_status)
    app, fleet, live = build(Parts(config, reader, probe, view, clock.utc_now, postgres_url, doorman, quick, at_once))
    server = await start_server(
        app,
        config.http.host,
        config.analytics_port,
        reuse_port=False,
        keepalive_s=config.http.keepalive_s,
        head_timeout_s=config.http.head_timeout_s,
        connections_max=config.http.connections_max,
        sockets=listening,
        ssl_context=certificates.context if certificates is not None else None,
    )
    works = [fleet.sample_rate(), live.sample(), watch(doorman)]
    if certificates is not None:
        works.append(certificates.watch())
    tasks = [asyncio.create_task(work) for work in works]
    readers = (reader, quick, at_once)
    child.report = lambda: _report(server, readers, live, doorman, certificates)
    child.ready()
    await child.stopping.wait()
    for task in tasks:
        task.cancel()
    if child.relieved:
        await server.hand_over(HAND_OVER_S)
    await server.stop(STOP_TIMEOUT_S)
    await reader.close(1.0)
    await quick.close(1.0)
    await at_once.close(1.0)
    await probe.close(1.0)


def _report(
    server: Server,
    readers: Collection[Reader],
    live: LiveRoute,
    doorman: Doorman | None,
    certificates: Certificates | None,
) -> dict[str, Any]:
    """What a heartbeat tells of analytics."""
    return {
        "connections": server.connections,
        "connections_ended": dict(server.entrance.ended),
        "refused": doorman.refused if doorman is not None else {},
        **key_figures(doorman, time.monotonic()),
        **server.handshake_figures(),
        **certificate_figures(certificates),
        **figures(readers),
        "live_listeners": live.listeners,
        "limits": {
            **KEY_LIMITS,
            "queries_in_flight": sum(reader.busy_max for reader in readers),
            "connections": server.entrance.connections_max,
            "live_listeners": LISTENERS_MAX,
        },
    }


def build(parts: Parts) -> tuple[web.Application, FleetRoute, LiveRoute]:
    """Return the application with all routes, and those two whose sampling is the caller's to run."""
    config = parts.config
    app = http.new_app(BODY_BYTES_MAX, config.http.cors_origins, hsts=bool(config.tls.certificate))
    app.middlewares.append(_not_kept)  # also the answers of the next one
    bound = config.tls.binds_to_device
    if parts.doorman is not None or bound:
        app.middlewares.append(entrance(parts.doorman, bound_to_certificates=bound))
    app.middlewares.append(_not_now)
    shards = config.writer.shards
    waiting = Waiting(parts.reader, config)
    alerts = AlertsRoute(parts.reader, config, parts.now, waiting)
    fleet = FleetRoute(parts.reader, config, parts.now, alerts, waiting)
    health = HealthRoutes(parts.probe, parts.node, parts.now, shards)
    live = LiveRoute(parts.reader, parts.node, health, fleet, shards)
    archive = Archive.of(config)
    ready = {**routes(parts, fleet, health, archive), "/v1/analytics/alerts": alerts.alerts, "/v1/live": live.live}
    for path, route in ready.items():
        app.router.add_get(path, route, expect_handler=http.answer_expect)
    pairs = PairsRoutes(parts.reader, config, parts.postgres_url)
    app.router.add_get("/v1/pairs", pairs.page, expect_handler=http.answer_expect)
    app.router.add_put("/v1/pairs/{vehicleId}", pairs.put, expect_handler=http.answer_expect)
    app.router.add_delete("/v1/pairs/{vehicleId}", pairs.delete, expect_handler=http.answer_expect)
    app.on_shutdown.append(live.end)
    app.on_cleanup.append(lambda _: archive.close())
    return app, fleet, live


def routes(parts: Parts, fleet: FleetRoute, health: HealthRoutes, archive: Archive) -> dict[str, Route]:
    """Return the paths of this process and who answers each."""
    receipts = ReceiptRoutes(parts.reader, parts.node, parts.config)
    sums = VehicleSums(parts.reader, archive, parts.config, parts.at_once)
    performance = PerformanceRoute(sums, parts.config, parts.now)
    found: dict[str, Route] = {
        "/v1/ingest/queue/stats": receipts.queue_stats,
        "/v1/ingest/jobs/{jobId}": receipts.job,
        "/v1/analytics/performance/{vehicleId}": performance.performance,
        "/v1/analytics/stats": fleet.stats,
        "/v1/audit": AuditRoute(parts.config, parts.postgres_url, parts.now).audit,
        "/health": health.health,
        "/livez": health.livez,
        "/readyz": health.readyz,
        "/metrics": MetricsRoute(parts.node, health).metrics,
    }
    for kind in KINDS:
        current = CurrentRoute(parts.quick or parts.reader, kind)
        history = HistoryRoute(parts.reader, archive, kind, parts.config, parts.now)
        found[f"/v1/ingest/{kind.name}/{{id}}/current"] = current.current
        found[f"/v1/analytics/history/{kind.name}/{{id}}"] = history.history
    return {**found, **page_routes(parts.config)}


@web.middleware
async def _not_kept(request: web.Request, handler: Handler) -> web.StreamResponse:
    # What is said of devices and of the node is no business of a cache, and old with the next reading.
    response = await handler(request)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@web.middleware
async def _not_now(request: web.Request, handler: Handler) -> web.StreamResponse:
    # What any route may meet, answered in one place.
    try:
        return await handler(request)
    except BadParameterError as error:
        return http.problem("bad_parameter", f"{len(error.errors)} wrong; see errors.", error.errors)
    except DatabaseUnavailableError:
        return http.problem("database_unavailable", "PostgreSQL did not answer in time.")
    except ArchiveUnavailableError as error:
        return http.problem("archive_unavailable", f"Readings of archived days cannot be had: {error}.")
    except TooManyQueriesError:
        return http.problem("overloaded", "Too many queries wait for the database.")
    except NotReachableError:
        return http.problem("not_ready", "The supervisor does not answer.")
