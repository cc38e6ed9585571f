"""An acceptor process: wires the HTTP server, the links to the writers and the way to analytics."""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Any

from hseie.acceptor.collector import WriterLink
from hseie.acceptor.proxy import AnalyticsProxy
from hseie.acceptor.routes import IngestRoutes, make_app
from hseie.admission import KEY_LIMITS, Doorman, key_figures, open_door, watch
from hseie.bus import Dealer, ipc_endpoint
from hseie.config import Config
from hseie.http_server import Server, start_server
from hseie.ports import analytics_path
from hseie.process import Child
from hseie.tls import Certificates, certificate_figures, open_certificates

_SWEEP_S = 0.2
_SILENCE_MAX_S = 3.0  # without a sign of life a writer counts as away
_DRAIN_S = 10.0
_PART_AFTER_S = 2.0  # the commit may be long in coming, and an answer is due before we go
# Devices that report less often than that lose their connection between two requests. Longer than those wait who were
# told to come again while a writer was replaced just before (`problems.py`): they come back on the same connection.
_HAND_OVER_S = 4.0


async def serve(
    child: Child,
    config: Config,
    number: int,
    listening: Sequence[socket.socket],
    neighbours: Sequence[socket.socket] = (),
) -> None:
    """Accept readings until told to stop, then finish the requests under way.

    `neighbours` are the sockets of another acceptor: what waits in them while that one is down or stuck is served here.
    A node that stops takes none any more; an acceptor that has a successor goes on until its connections have ended.
    """
    ingest, shards = config.ingest, config.writer.shards
    links = [
        WriterLink(
            shard,
            ingest.frames_in_flight_max,
            ingest.frame_bytes_max,
            ingest.ack_timeout_ms / 1000,
            shards=shards,
        )
        for shard in range(shards)
    ]
    dealers = [_connect(child, config, shard, link) for shard, link in enumerate(links)]
    for link in links:
        link.ack_seconds = links[0].ack_seconds  # one histogram an acceptor is enough to look at
    doorman = open_door(config, child.run_dir)
    routes = IngestRoutes(config, links, doorman)
    certificates = open_certificates(config.tls)
    proxy = AnalyticsProxy(analytics_path(child.run_dir), config.http.body_timeout_s)
    server: Server | None = None
    sweeping = asyncio.ensure_future(_sweep(links))
    watching = [asyncio.ensure_future(watch(doorman))]
    if certificates is not None:
        watching.append(asyncio.ensure_future(certificates.watch()))
    try:
        await _until_heard(links)
        server = await start_server(
            make_app(config, routes, proxy),
            config.http.host,
            config.http.port,
            reuse_port=True,
            keepalive_s=config.http.keepalive_s,
            head_timeout_s=config.http.head_timeout_s,
            connections_max=config.http.connections_max,
            sockets=listening,
            ssl_context=certificates.context if certificates is not None else None,
        )
        child.report = lambda: _report(number, routes, links, dealers, proxy, server, doorman, certificates)
        child.ready()
        helping = asyncio.ensure_future(_help(server, neighbours))
        await child.stopping.wait()
        helping.cancel()
        asyncio.get_running_loop().call_later(_PART_AFTER_S, _part, routes)
        if child.relieved:
            await server.hand_over(_HAND_OVER_S)
        routes.draining = True
        await server.stop(_DRAIN_S)
    finally:
        sweeping.cancel()
        for one in watching:
            one.cancel()
        await proxy.close()
        for dealer in dealers:
            dealer.close()


def _connect(child: Child, config: Config, shard: int, link: WriterLink) -> Dealer:
    endpoint = ipc_endpoint(child.run_dir, f"writer-{shard}")
    dealer = Dealer(endpoint, link.on_message, message_bytes_max=4 * config.ingest.frame_bytes_max)
    link.send = dealer.send
    return dealer


async def _until_heard(links: list[WriterLink]) -> None:
    """Wait a moment for the writers, so that the first requests are not refused; one that is down may not stop us."""
    deadline = time.monotonic() + _SILENCE_MAX_S
    while time.monotonic() < deadline and any(link.boot is None for link in links):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def _part(routes: IngestRoutes) -> None:
    routes.parting = True


async def _help(server: Server, neighbours: Sequence[socket.socket]) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        for listening in neighbours:
            await server.take_waiting(listening)


async def _sweep(links: list[WriterLink]) -> None:
    expected = time.monotonic()
    while True:
        now = time.monotonic()
        if now - expected > _SWEEP_S:  # we were stopped or starved ourselves: what the writers said is still unread
            for link in links:
                link.heard_at += now - expected
        for link in links:
            link.sweep(now, _SILENCE_MAX_S)
        expected = now + _SWEEP_S
        await asyncio.sleep(_SWEEP_S)


def _report(
    number: int,
    routes: IngestRoutes,
    links: list[WriterLink],
    dealers: list[Dealer],
    proxy: AnalyticsProxy,
    server: Server,
    doorman: Doorman | None,
    certificates: Certificates | None,
) -> dict[str, Any]:
    """What a heartbeat tells of this acceptor."""
    counts = routes.counts
    return {
        "number": number,
        "requests": counts.requests,
        "in_flight": counts.in_flight,
        "readings": counts.readings,
        "accepted": counts.accepted,
        "duplicates": counts.duplicates,
        "rejected": counts.rejected,
        "answers": {str(status): count for status, count in counts.answers.items()},
        "problems": counts.problems,
        "reading_errors": counts.reading_errors,
        "passed_on": {str(status): count for status, count in proxy.answers.items()},
        "connections": server.connections,
        "connections_ended": dict(server.entrance.ended),
        "bodies_bytes": routes.bodies.bytes,
        "devices": routes.devices_remembered,
        "writers_away": sum(link.boot is None for link in links),
        "frames_sent": sum(link.frames_sent for link in links),
        "frames_in_flight": sum(link.frames_in_flight for link in links),
        "waiting_bytes": sum(link.waiting_bytes for link in links),
        "in_flight_bytes": sum(link.in_flight_bytes for link in links),
        # The limits are those of one link; this is the one that is closest to them.
        "fullest_link": {
            "frames_in_flight": max(link.frames_in_flight for link in links),
            "bytes": max(link.waiting_bytes + link.in_flight_bytes for link in links),
        },
        "ack_seconds": links[0].ack_seconds.report(),
        "strangers": sum(link.strangers for link in links),
        "messages_refused": sum(dealer.refused for dealer in dealers),
        "messages_unsent": sum(dealer.unsent for dealer in dealers),
        **key_figures(doorman, time.monotonic()),
        **server.handshake_figures(),
        **certificate_figures(certificates),
        "limits": {**routes.limits, **KEY_LIMITS, "connections": server.entrance.connections_max},
    }
