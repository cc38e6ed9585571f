"""A node in the foreground: lock, ports, PostgreSQL, processes, and the way back.

The order matters. The lock comes first, because everything after it (sockets, journals, the embedded server) takes
over what it finds. PostgreSQL starts before the processes and stops after them.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

import structlog
import uvloop

from hseie import __version__, clock, control, failpoints, logs, tls, topology
from hseie.archive_look import check_at_reload, check_at_start
from hseie.config import Config, masked
from hseie.embedded.server import EmbeddedPostgres
from hseie.errors import CertificateError, ConfigError, ExitCode
from hseie.ports import Listeners, analytics_path, is_loopback
from hseie.process import ProcessSpec
from hseie.supervisor.lock import InstanceLock
from hseie.supervisor.postgres import PostgresKeeper
from hseie.supervisor.reload import Reloads
from hseie.supervisor.supervisor import SIGNALS, Ending, Plan, Reply, Supervisor

Look = Callable[[], control.Snapshot]


def address(config: Config) -> str:
    """Return the URL under which a program on this machine reaches the acceptors."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(config.http.host, config.http.host)  # noqa: S104
    scheme = "https" if config.tls.on else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{config.http.port}"


def ready_line(config: Config) -> str:
    """Return the line that tells the starter of a node that it is ready, and where."""
    acceptors, shards = config.http.acceptors, config.writer.shards
    return f"HSEIE ready: {address(config)} (data {config.node.data}, {acceptors} acceptors, {shards} writers)"


def who_is_let_in(config: Config) -> Literal["keys", "certificates", "this_machine", "everybody"]:
    """Return who may use a node: who has a key, who has a certificate, every program on this machine, or everybody who
    reaches it.

    Raises ConfigError for a node that would be open to a network and was not told to be.
    """
    if config.auth.mode == "keys":
        return "keys"
    if config.tls.client_ca and config.tls.client_certificates == "required":
        return "certificates"
    if is_loopback(config.http.host):
        return "this_machine"
    if config.auth.open_to_network:
        return "everybody"
    raise ConfigError(
        f"http.host is {config.http.host or 'empty'!r}, which a network reaches, and auth.mode is none: anybody there "
        'could send readings and read all of them. Either ask for keys (auth.mode = "keys", and make one with '
        "`hseie keys create`) or for certificates (tls.client_ca), or, where something else guards the port, say so "
        "(auth.open_to_network = true)"
    )


def check_certificate(config: Config) -> None:
    """Raise ConfigError unless HTTPS can be served as it is configured, today."""
    if config.tls.on:
        try:
            tls.read(config.tls, clock.unix_s())
        except CertificateError as error:
            raise ConfigError(str(error)) from None


def run_node(
    config: Config,
    on_ready: Callable[[Look], None],
    companions: Sequence[ProcessSpec] = (),
    environ: Mapping[str, str] = os.environ,
    read_again: Callable[[], Config] | None = None,
) -> Ending:
    """Run a node until it is told to stop (SIGTERM, SIGINT) or fails; to be called in the main thread.

    `companions` are processes that start after the node's own and stop before them. `on_ready` is called on the loop
    once all processes are ready, with a function that returns the node's snapshot. `read_again` gives the configuration
    anew for a reload (SIGHUP, `hseie reload`), or raises ConfigError; without it a reload is refused.

    Raises HseieError where it cannot even begin: another node on the folder, a port taken, a folder it may not use, a
    network that it would be open to, a certificate that is no good, an archive that is no folder.
    """
    who_is_let_in(config)
    check_certificate(config)
    asyncio.run(check_at_start(config))
    # Held back until the supervisor can answer them, and again once it has: a node that is told to stop exits with 0.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    logs.configure(config.log.level, config.log.format, "supervisor")
    _warn_of_faults(environ)
    lock = InstanceLock.acquire(config.data_dir)
    try:
        run_dir = control.run_dir_of(config.data_dir)
        control.prepare_run_dir(run_dir)
        with closing(Listeners(config.http.host, config.http.port, config.analytics_port, run_dir)) as listeners:
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    return runner.run(_run(config, on_ready, companions, environ, read_again, listeners))
            finally:  # and not when the sockets are closed: the processes that drain still ask there
                analytics_path(run_dir).unlink(missing_ok=True)
    finally:
        lock.release()


def _warn_of_faults(environ: Mapping[str, str]) -> None:
    """Refuse misspelt failpoints before anything starts, and say loudly that some are armed."""
    for variable, armed in (
        (failpoints.VARIABLE, failpoints.arm("supervisor", environ)),
        (clock.VARIABLE, clock.arm(environ)),
    ):
        if armed:
            structlog.get_logger("hseie").warning("faults_ordered", variable=variable, value=armed)


async def _run(
    config: Config,
    on_ready: Callable[[Look], None],
    companions: Sequence[ProcessSpec],
    environ: Mapping[str, str],
    read_again: Callable[[], Config] | None,
    listeners: Listeners,
) -> Ending:
    return await _Node(config, on_ready, companions, environ, read_again, listeners).run()


class _Node:
    """The parts of a node and their lives: PostgreSQL around the supervisor, the supervisor around the processes."""

    def __init__(
        self,
        config: Config,
        on_ready: Callable[[Look], None],
        companions: Sequence[ProcessSpec],
        environ: Mapping[str, str],
        read_again: Callable[[], Config] | None,
        listeners: Listeners,
    ) -> None:
        """To be made inside the running loop."""
        self._config = config
        self._listeners = listeners
        self._postgres_url = config.postgres.url
        self._on_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._companions = companions
        self._keeper: PostgresKeeper | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("hseie")
        if not config.postgres.url:
            server = EmbeddedPostgres(config.data_dir / "postgres", environ=environ, log=self._log)
            self._keeper = PostgresKeeper(server, config.supervisor)
        run_dir = control.run_dir_of(config.data_dir)
        self._supervisor = Supervisor(
            config, run_dir, self._prepare, lambda: on_ready(self._supervisor.snapshot), self._more_rows
        )
        self._supervisor.about = {
            "data": str(config.data_dir),
            "url": address(config),
            "postgres": "embedded" if self._keeper else "external",
            "postgres_url": masked(config.postgres.url),
        }
        self._reloads = Reloads(self._supervisor, read_again, self._plan, self._check)
        self._supervisor.on_reload = self._on_reload
        # While we hold a socket, a connection to it is accepted by the kernel, and nobody would answer it any more.
        self._supervisor.on_stop = listeners.close

    async def run(self) -> Ending:
        self._log.info("node_starting", version=__version__, data=str(self._config.data_dir), url=address(self._config))
        try:
            return await self._supervisor.run()
        finally:
            if self._keeping is not None:
                self._keeping.cancel()
            if self._keeper is not None:
                await self._keeper.stop()
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    async def _prepare(self) -> Plan:
        if self._keeper is not None:
            url = self._postgres_url = await self._keeper.start()
            self._keeping = asyncio.get_running_loop().create_task(self._keeper.keep(url, self._on_postgres_moved))
            self._keeping.add_done_callback(self._on_keeping_end)
            self._supervisor.about["postgres_url"] = masked(url)
        plan = self._plan(self._config)
        return replace(plan, stages=[*plan.stages, *([self._companions] if self._companions else [])])

    def _plan(self, config: Config) -> Plan:
        check_certificate(config)
        access = self._supervisor.about["access"] = who_is_let_in(config)
        self._supervisor.about["keys_file"] = str(config.keys_file)
        if access == "everybody":
            self._log.warning("open_to_network", host=config.http.host, because="auth.open_to_network is set")
        self._supervisor.about["url"] = address(config)
        return topology.plan(config, self._postgres_url, self._listeners)

    async def _check(self, config: Config, changed: Container[str]) -> list[str]:
        return await check_at_reload(self._postgres_url, config, changed)

    def _on_reload(self, reply: Reply | None) -> None:
        if reply is not None:
            self._reloads.ask(reply)
        elif self._on_terminal and not sys.stdin.isatty():
            self._log.info("node_draining", because="the terminal it ran on is gone")
            self._supervisor.stop()
        else:
            self._log.info("reload_asked_for", signal="SIGHUP")
            self._reloads.ask(lambda answer: None)

    def _on_postgres_moved(self, url: str) -> None:
        reason = f"the embedded PostgreSQL lost its port and now has {masked(url)}; start the node again"
        self._supervisor.stop(ExitCode.UNAVAILABLE, reason)

    def _on_keeping_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("keeping_postgres_crashed", exc_info=error)
            self._supervisor.stop(ExitCode.FAILURE, f"nobody looks after PostgreSQL any more: {error}")

    def _more_rows(self) -> list[dict[str, Any]]:
        return [self._keeper.row()] if self._keeper is not None else []
