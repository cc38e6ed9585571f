"""How fast questions are answered on a day, and on a billion readings, of the nominal fleet.

    .venv/bin/python bench/analytics.py day                    # 28.8 million readings in PostgreSQL; ten minutes
    .venv/bin/python bench/analytics.py billion --data DIR     # 35 days, most of them archived; goes on where it was
    .venv/bin/python bench/analytics.py length --data DIR      # table and plot of what `billion` met on its way
    ... --scale 0.01                                           # the same with 100 pairs instead of 10,000

History is made by bench/fleet_history.py in the database of a node of its own, on a free port and in a temporary
folder (--data: in that one, which stays; what is there already is not made again). Then the real node runs, and its
maintenance closes the hours. Node, PostgreSQL and clients share the machine. Prints tables for README.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import logging
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from billion import DAYS, KEPT_DAYS, RESULTS, Growth, grow_and_measure
from fleet_history import BYTES_A_READING, DEVICES, HOUR, Fleet, check_room, running_postgres, whole_minute
from node import free_port, hseie, running_node, wait_until_committed  # the bench beside this one
from observed import close_hours, rows, sizes, wait_for_vacuum
from plot import svg
from questions import Measured, alone, ask

from hseie.embedded.server import read_url

CLIENTS = 8
CLOSED_ALONE = 5  # hours that are closed one by one, to see how long that takes
HOURS = 25  # a day back from now, and the hour that it begins in
INGEST_INTERVAL_MS = 6000  # ten times the nominal rate: 20,000 devices make 3,333 readings a second
PLOT = Path(__file__).parents[1] / "docs" / "history_length.svg"
Found = dict[str, Any]


# --- questions --------------------------------------------------------------------------------------------------------


def performance_path(devices: int, query: str, dice: random.Random) -> str:
    return f"/v1/analytics/performance/VEHICLE_{dice.randint(1, devices):03d}{query}"


def current_path(devices: int, query: str, dice: random.Random) -> str:
    kind = dice.choice(("meter", "vehicle"))
    return f"/v1/ingest/{kind}/{kind.upper()}_{dice.randint(1, devices):03d}/current"


def measure(devices: int, port: int, seconds: float, query: str) -> dict[str, Measured]:
    """Ask both questions, one after the other; the answers have to be 200."""
    found = {}
    for name, path in {"performance": performance_path, "current": current_path}.items():
        asked = functools.partial(path, devices, query)
        found[name] = ask(port, asked, clients=CLIENTS, seconds=seconds)
        print(f"  {name:<12} {found[name]}", flush=True)
        if set(found[name].statuses) != {"200"}:
            raise SystemExit(f"not all were answered: {found[name].statuses}")
    return found


# --- what the node does meanwhile -------------------------------------------------------------------------------------


@contextlib.contextmanager
def ingest(port: int, devices: int) -> Iterator[None]:
    """The simulator at ten times the nominal rate, through the acceptors."""
    command = [sys.executable, "-m", "simulator", "--url", f"http://127.0.0.1:{port}", "--quiet"]
    command += ["--devices", str(devices), "--interval-ms", str(INGEST_INTERVAL_MS), "--duration", "3600"]
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(INGEST_INTERVAL_MS / 1000 * 1.5)  # until every device has reported once
        yield
    finally:
        load.terminate()
        load.wait(60)


# --- day --------------------------------------------------------------------------------------------------------------


def day(options: argparse.Namespace, data: Path) -> Found:
    devices = options.devices
    with running_postgres(data) as url:
        _, end = asyncio.run(_fill_day(url, data, devices))
        last = end.replace(minute=0)
        close_hours(url, data, last - CLOSED_ALONE * HOUR, 0)
        wait_for_vacuum(url)
        closed = close_hours(url, data, last, CLOSED_ALONE)
    print(f"closing an hour: {', '.join(f'{took_s:.2f}' for took_s in closed)} s")
    found: Found = {"devices": devices, "closing_s": closed}
    port = free_port()
    fresh = datetime.now(UTC) - end < timedelta(minutes=30)
    query = "" if fresh else f"?from={_text(end - 24 * HOUR)}&to={_text(end)}"
    with running_node(data, port):
        url = read_url(data / "postgres") or ""
        wait_for_vacuum(url)
        found["sizes"] = sizes(url)
        for kind, size in found["sizes"].items():
            print(
                f"{kind}: {size['readings']:,} readings of {size['heap']:.1f} B, and {size['index']:.1f} B in the index"
            )
        print("the clients alone, answered at once:")
        client = alone(
            functools.partial(performance_path, devices, query), clients=CLIENTS, seconds=options.seconds / 4
        )
        print(f"  {'':<12} {client}")
        print(f"questions, {CLIENTS} clients:", flush=True)
        found["alone"] = client.figures()
        found["quiet"] = {k: v.figures() for k, v in measure(devices, port + 1, options.seconds, query).items()}
        print(f"the same while {devices * 2000 / INGEST_INTERVAL_MS:,.0f} readings/s come in:", flush=True)
        with ingest(port, devices):
            received = _received(url)
            began = time.monotonic()
            found["ingest"] = {k: v.figures() for k, v in measure(devices, port + 1, options.seconds, query).items()}
            found["received_per_s"] = (_received(url) - received) / (time.monotonic() - began)
        print(f"  {found['received_per_s']:,.0f} readings/s were committed meanwhile")
        wait_until_committed(data)
        audit = hseie("audit", "--json", "--data", str(data))
        found["balanced"] = audit.returncode == 0
        print(f"books: {'balanced' if found['balanced'] else 'NOT BALANCED ' + audit.stdout[-500:]}")
    return found


async def _fill_day(url: str, data: Path, devices: int) -> tuple[datetime, datetime]:
    fleet = Fleet(url, devices)
    await fleet.prepare()
    made = await fleet.made()
    if made is None:
        check_room(data, devices * 120 * HOURS * BYTES_A_READING)
        end = whole_minute(datetime.now(UTC))
        made = ((end - HOURS * HOUR).replace(minute=0), end)
        await fleet.fill(*made)
    return made


# --- billion, length --------------------------------------------------------------------------------------------------


def billion(options: argparse.Namespace, data: Path) -> Found:
    growth = Growth(data, options.devices, options.days, options.kept_days)
    return grow_and_measure(growth, options.seconds / 4, options.colds, options.warms)


def length(options: argparse.Namespace, data: Path) -> Found:
    file = data / RESULTS
    if not file.exists():
        raise SystemExit(f"{data} has no {RESULTS}: run `billion --data {data}` first")
    found: Found = json.loads(file.read_text())["lengths"]
    days = sorted(map(int, found))
    names = list(found[str(days[0])])
    print("| one client, p50 (p99) | " + " | ".join(f"{day} days" for day in days) + " |")
    print("|---|" + "---|" * len(days))
    for name in names:
        cells = [found[str(day)][name] for day in days]
        print(f"| {name} | " + " | ".join(f"{cell['p50_ms']:.2f} ms ({cell['p99_ms']:.2f})" for cell in cells) + " |")
    lines = {name: [found[str(day)][name]["p50_ms"] for day in days] for name in names}
    options.plot.write_text(svg("Time of a question against the length of history (p50)", days, lines))
    return found


def _received(url: str) -> int:
    return int(rows(url, "SELECT sum(received) FROM shard_book")[0][0])


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the command line -------------------------------------------------------------------------------------------------

COMMANDS: dict[str, Callable[[argparse.Namespace, Path], Found]] = {"day": day, "billion": billion, "length": length}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--data", type=Path, help="folder that stays; without it a temporary one")
    parser.add_argument("--scale", type=float, default=1.0, help=f"of {DEVICES:,} pairs")
    parser.add_argument("--seconds", type=float, default=20.0, help="of asking, a question")
    parser.add_argument("--days", type=int, default=DAYS, help="of `billion`")
    parser.add_argument(
        "--kept-days", type=int, default=KEPT_DAYS, help="of `billion`, in PostgreSQL; more need more disk"
    )
    parser.add_argument("--colds", type=int, default=3, help="of `billion`: cold starts a question")
    parser.add_argument("--warms", type=int, default=30, help="of `billion`: warm ones")
    parser.add_argument("--plot", type=Path, default=PLOT, help="of `length`")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    options.devices = max(1, round(DEVICES * options.scale))
    data = options.data or Path(tempfile.mkdtemp(prefix="hseie-bench-"))
    data.mkdir(parents=True, exist_ok=True)
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    try:
        found = COMMANDS[options.command](options, data)
    finally:
        if options.data is None:
            shutil.rmtree(data, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
