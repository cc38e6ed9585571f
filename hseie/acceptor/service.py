"""An acceptor process: wires the HTTP server, the links to the writers and the way to analytics."""

import asyncio
import time
from typing import Any

from hseie.acceptor.collector import WriterLink
from hseie.acceptor.proxy import AnalyticsProxy
from hseie.acceptor.routes import IngestRoutes, make_app
from hseie.bus import Dealer, ipc_endpoint
from hseie.config import Config
from hseie.process import Child
from hseie.web import Server, start_server

_SWEEP_S = 0.2
_SILENCE_MAX_S = 3.0  # without a sign of life a writer counts as away
_DRAIN_S = 10.0


async def serve(child: Child, config: Config, number: int) -> None:
    """Accept readings until told to stop, then finish the requests under way."""
    ingest = config.ingest
    links = [
        WriterLink(shard, ingest.frames_in_flight_max, ingest.frame_bytes_max, ingest.ack_timeout_ms / 1000)
        for shard in range(config.writer.shards)
    ]
    for link in links:
        link.ack_seconds = links[0].ack_seconds  # one histogram an acceptor is enough to look at
    sockets = [_connect(child, config, shard, link) for shard, link in enumerate(links)]
    routes = IngestRoutes(config, links)
    proxy = AnalyticsProxy(_reachable(config.http.host), config.analytics_port)
    server: Server | None = None
    sweeping = asyncio.ensure_future(_sweep(links))
    try:
        await _until_heard(links)
        server = await start_server(
            make_app(config, routes, proxy),
            config.http.host,
            config.http.port,
            reuse_port=True,
            keepalive_s=config.http.keepalive_s,
        )
        child.report = lambda: _report(number, routes, links, sockets, proxy, server)
        child.ready()
        await child.stopping.wait()
        routes.draining = True
        await server.stop(_DRAIN_S)
    finally:
        sweeping.cancel()
        await proxy.close()
        for socket in sockets:
            socket.close()


def _connect(child: Child, config: Config, shard: int, link: WriterLink) -> Dealer:
    endpoint = ipc_endpoint(child.run_dir, f"writer-{shard}")
    dealer = Dealer(endpoint, link.on_message, message_bytes_max=4 * config.ingest.frame_bytes_max)
    link.send = dealer.send
    return dealer


def _reachable(host: str) -> str:
    """Return where a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


async def _until_heard(links: list[WriterLink]) -> None:
    """Wait a moment for the writers, so that the first requests are not refused; one that is down may not stop us."""
    deadline = time.monotonic() + _SILENCE_MAX_S
    while time.monotonic() < deadline and any(link.boot is None for link in links):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


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
    sockets: list[Dealer],
    proxy: AnalyticsProxy,
    server: Server,
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
        "messages_refused": sum(socket.refused for socket in sockets),
        "messages_unsent": sum(socket.unsent for socket in sockets),
        "limits": routes.limits,
    }
