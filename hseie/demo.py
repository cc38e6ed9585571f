"""`hseie demo`: a node, a simulated fleet beside it, and live rates on the terminal.

The fleet runs as one more process under the supervisor, started last and stopped first. It is a client like any other
and knows the node by its address only.
"""

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any

import click
import msgspec
from rich.console import Console

from hseie.config import Config
from hseie.config_load import Loaded
from hseie.control import Snapshot
from hseie.errors import ConfigError, ExitCode, PortTakenError
from hseie.node import Look, address, ready_line, run_node
from hseie.process import Child, ProcessSpec
from simulator.driver import Driver
from simulator.options import Options
from simulator.run import simulate
from simulator.terminal import figures as fleet_figures

# So much history is sent first, that questions have an answer at once; half a million readings, a few seconds.
BACKFILL_HOURS = 0.5
_TERMINAL_EVERY_S = 1.0
_LINE_EVERY_S = 5.0


def run_demo(loaded: Loaded, devices: int) -> ExitCode:
    """Run until Ctrl-C or SIGTERM. Raises what `run_node` raises."""
    config = loaded.config
    if loaded.origins["log.level"] == "default":
        config = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, level="warning"))
    if config.tls.client_ca and config.tls.client_certificates == "required":
        raise ConfigError('the fleet of the demo has no certificates: use tls.client_certificates = "optional"')
    fleet = ProcessSpec("simulator", "simulator", serve_fleet, (address(config), devices))
    new = not (config.postgres.url or (config.data_dir / "postgres").exists())
    click.echo("Making a database and starting a node ..." if new else "Starting a node ...")
    display = _Display(config, devices)
    try:
        ending = run_node(config, display.begin, [fleet])
    except PortTakenError as error:
        raise PortTakenError(f"{error}, for example `hseie demo --port {config.http.port + 1000}`") from None
    if ending.reason:
        click.echo(f"hseie: {ending.reason}", err=True)
    else:
        click.echo("Stopped. The data is kept; `hseie demo` goes on with it.")
    return ending.exit_code


async def serve_fleet(child: Child, config: Config, url: str, devices: int) -> None:
    """Be the fleet: devices that report once a minute, after a short history."""
    drivers: list[Driver] = []

    def started(driver: Driver) -> None:
        drivers.append(driver)
        child.report = lambda: {"fleet": fleet_figures(driver.tally, 0.0)}

    options = Options(
        url=url, ca=config.tls.certificate or None, devices=devices, backfill_hours=BACKFILL_HOURS, quiet=True
    )
    running = asyncio.get_running_loop().create_task(simulate(options, Console(quiet=True), started))
    stopping = asyncio.get_running_loop().create_task(child.stopping.wait())
    child.ready()
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for driver in drivers:
        driver.stop()
    await running


@dataclass(frozen=True)
class Totals:
    """Sums over the writers at a moment, in readings since their start."""

    at: float
    received: int
    committed: int
    waiting: int


def totals(snapshot: Snapshot, at: float) -> Totals:
    """Add up the writers of a snapshot taken at the monotonic time `at`."""
    kinds = [
        counts
        for row in snapshot["processes"]
        if row["role"] == "writer"
        for counts in row["stats"].get("kinds", {}).values()
    ]
    received = sum(counts["received"] for counts in kinds)
    waiting = sum(counts["waiting"] + counts["active"] for counts in kinds)
    return Totals(at, received, max(received - waiting, 0), waiting)


def rates(before: Totals, after: Totals) -> dict[str, str]:
    """Return what happened between two moments, as words and figures. A restarted writer counts from zero again."""
    seconds = max(after.at - before.at, 1e-9)
    return {
        "received": f"{max(after.received - before.received, 0) / seconds:,.0f}/s",
        "committed": f"{max(after.committed - before.committed, 0) / seconds:,.0f}/s",
        "waiting": f"{after.waiting:,}",
        "in all": f"{after.received:,}",
    }


class _Display:
    """A line of figures: rewritten in place on a terminal, a new one every few seconds elsewhere."""

    def __init__(self, config: Config, devices: int) -> None:
        self._config = config
        self._devices = devices
        self._task: asyncio.Task[None] | None = None

    def begin(self, look: Look) -> None:
        url = address(self._config)
        click.echo(ready_line(self._config))
        click.echo(f"  API      {url}/api")
        click.echo(f"  fleet    {url}/v1/analytics/stats")
        click.echo(f"  one car  {url}/v1/analytics/performance/VEHICLE_001")
        click.echo(f"  sending  {self._devices:,} meters and {self._devices:,} vehicles, a reading a minute each")
        click.echo("Ctrl-C stops everything.")
        self._task = asyncio.get_running_loop().create_task(self._show(look))

    async def _show(self, look: Look) -> None:
        terminal = sys.stdout.isatty()
        before = totals(look(), time.monotonic())
        while True:
            await asyncio.sleep(_TERMINAL_EVERY_S if terminal else _LINE_EVERY_S)
            snapshot = look()
            if snapshot["node"]["state"] == "draining":
                click.echo("\nStopping." if terminal else "Stopping.")
                return
            after = totals(snapshot, time.monotonic())
            text = line(rates(before, after), snapshot)
            before = after
            if terminal:
                # A wrapped line could not be rewritten; \x1b[K clears what a longer one before has left.
                width = shutil.get_terminal_size().columns - 1
                click.echo(f"\r{text[:width]}\x1b[K", nl=False)
            else:
                click.echo(text)


def line(found: dict[str, str], snapshot: Snapshot) -> str:
    """Return the display: rates of the node, the fleet's latency, and the processes that are not ready."""
    parts = [f"{name} {value}" for name, value in found.items()]
    for row in snapshot["processes"]:
        fleet: dict[str, Any] = row["stats"].get("fleet", {})
        parts += [f"{name} {fleet[name]}" for name in ("p50", "p99") if name in fleet]
        if row["state"] != "ready":
            parts.append(f"{row['name']} {row['state']}")
    return "  ".join(parts)
