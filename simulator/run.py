"""One run from its options to its summary: the whole wiring of the simulator."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import chain, islice
from pathlib import Path
from random import Random
from time import monotonic, time
from typing import Any

import orjson
from rich.console import Console

from simulator.answers import NO_ACCESS
from simulator.disturbance import disturbed
from simulator.driver import Driver, Pace
from simulator.fleet import Due, Fleet, rfc3339
from simulator.http1 import Connection, NotSentError, NotTrustedError, Target
from simulator.ledger import Ledger
from simulator.options import Options
from simulator.posts import posts
from simulator.retry import RetryPolicy
from simulator.schedule import live_ticks, past_ticks, virtual_cadence_ms
from simulator.tally import Tally
from simulator.terminal import print_summary, show_progress

EXIT_UNREACHABLE = 2
EXIT_NO_ACCESS = 3
BACKFILL_BATCH = 500
LEAD_S = 0.1
"""The first reading is due this long after the start, so that it is not overdue before it is made."""
FAULTY_NAMED = 100


async def await_server(target: Target, wait_s: float) -> str | None:
    """Try to connect for ``wait_s`` seconds; None when it worked, else the end of "no server at X"."""
    until = monotonic() + wait_s
    while True:
        try:
            connection = await Connection.open(target, timeout_s=max(1.0, wait_s))
        except NotTrustedError as error:
            return f" that is trusted: {error}; --ca names the authority of its certificate"
        except NotSentError as error:
            if monotonic() >= until:
                return f" within {wait_s:g} s: {error}"
            await asyncio.sleep(0.2)
        else:
            connection.close()
            return None


async def simulate(options: Options, console: Console, on_start: Callable[[Driver], None]) -> dict[str, Any]:
    """Run to the end and return the summary. ``on_start`` gets the driver, which can be stopped."""
    began_ms = options.start_ms(int(time() * 1000))
    cadence = options.interval_ms
    if options.fast:
        cadence = virtual_cadence_ms(
            cadence, options.history_ms, options.devices, options.batch, options.ticks, options.duration
        )
    fleet = Fleet(options.first_device, options.devices, options.seed, options.faulty_share, cadence)
    tally = Tally()
    headers = {"Content-Type": "application/json", "User-Agent": "hseie-simulator"}
    if options.prefer:
        headers["Prefer"] = options.prefer
    if options.key:
        headers["Authorization"] = f"Bearer {options.key}"
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(Path(options.ledger))) if options.ledger else None
        driver = Driver(
            options.target(),
            options.concurrency,
            options.timeout,
            RetryPolicy(attempts=options.attempts),
            headers,
            tally,
            ledger,
            Random(f"{options.seed}:jitter"),
        )
        stack.callback(driver.close)
        on_start(driver)
        progress = None if options.quiet else asyncio.create_task(show_progress(tally, console))
        began = monotonic()
        try:
            await _send(options, fleet, driver, began_ms, cadence)
        finally:
            duration_s = monotonic() - began
            if progress is not None:
                progress.cancel()
                with suppress(asyncio.CancelledError):
                    await progress
    faulty = fleet.faulty_ids()
    return tally.summary(duration_s) | {
        "seed": options.seed,
        "start": rfc3339(began_ms),
        "cadence_ms": cadence,
        "faulty_chargers": len(faulty),
        "faulty_vehicle_ids": faulty[:FAULTY_NAMED],
        "options": options.shown(),
    }


def _overdue(stream: Iterator[Due], now_ms: Callable[[], int], left: list[Due]) -> Iterator[Due]:
    """The readings that are due already, also those that become due meanwhile; the first that is not goes to left."""
    for due in stream:
        if due[0] > now_ms():
            left.append(due)
            return
        yield due


async def _send(options: Options, fleet: Fleet, driver: Driver, began_ms: int, cadence: int) -> None:
    pace: Pace | None = None
    if options.fast:
        ticks = past_ticks(began_ms, cadence, options.history_ms)
        stream = fleet.readings(islice(ticks, options.ticks))
    else:
        pace = Pace(began_ms, monotonic() + LEAD_S)
        before = int(options.backfill_hours * 3_600_000) // cadence
        ticks = live_ticks(began_ms - before * cadence, cadence)
        stream = fleet.readings(islice(ticks, None if options.ticks is None else before + options.ticks))
        if before:
            left: list[Due] = []
            past = _overdue(stream, pace.now_ms, left)
            await driver.drive(posts(past, max(options.batch, BACKFILL_BATCH)), None)
            stream = chain(left, stream)
    stream = disturbed(
        stream,
        options.late_share,
        options.repeat_share,
        options.malformed_share,
        Random(f"{options.seed}:disturbance"),
        cadence,
    )
    timer = None
    if options.duration is not None:
        timer = asyncio.get_running_loop().call_later(options.duration, driver.stop)
    await driver.drive(posts(stream, options.batch), pace)
    if timer is not None:
        timer.cancel()


def _write_summary(summary: dict[str, Any], destination: str | None, console: Console) -> None:
    if destination != "-":
        print_summary(summary, console)
    if destination is None:
        return
    text = orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if destination == "-":
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    else:
        Path(destination).write_bytes(text)


async def main(options: Options) -> int:
    """Run as a program: progress and summary on the terminal, SIGINT and SIGTERM end it cleanly; the exit code."""
    console = Console(stderr=options.json == "-")
    reason = await await_server(options.target(), options.wait)
    if reason is not None:
        print(f"simulator: no server at {options.url}{reason}", file=sys.stderr)
        return EXIT_UNREACHABLE

    def started(driver: Driver) -> None:
        # The fleet lives to the end: the collector need not look at it again and again.
        gc.freeze()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, driver.stop)

    summary = await simulate(options, console, started)
    _write_summary(summary, options.json, console)
    turned_away = sum(summary["statuses"].get(str(status), 0) for status in NO_ACCESS)
    if turned_away:
        print(f"simulator: {turned_away:,} requests were refused access (401 or 403)", file=sys.stderr)
        return EXIT_NO_ACCESS
    return 0
