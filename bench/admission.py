"""What it costs to ask for keys: one reading a request at full rate, with nobody asked and with everything asked.

    .venv/bin/python bench/admission.py                     # auth.mode none against keys
    .venv/bin/python bench/admission.py --tree ../before    # and against another checkout, say of an older commit

A key here has a rate, a quota of devices and a prefix, so every check there is runs for every request. The variants
take turns, each on a data folder of its own, so that what else the machine does hits all of them alike; what counts is
the median of the rounds' ratios. The load shares the machine with the node: CPU time of the acceptors a request says
more than requests a second.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from node import free_port  # the bench beside this one

DEVICES = 1000  # so few that both acceptors have met each of them when the measuring begins
CONNECTIONS = 64
WARM_UP_S = 2.0
KEY = ("keys", "create", "bench", "--scope", "ingest", "--prefix", "METER_", "--devices-max", str(DEVICES))
KEY = (*KEY, "--readings-per-s", "1000000")
ROOT = Path(__file__).parents[1]


@dataclass
class Variant:
    """A way to run a node: its checkout, what the environment adds, and what was measured."""

    name: str
    tree: Path
    environ: dict[str, str]
    data: Path
    header: str = ""  # shows the key
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # of all acceptors, a request

    def hseie(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "hseie", *arguments, "--data", str(self.data)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.tree,
            env=os.environ | self.environ,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout

    @contextlib.contextmanager
    def running(self, port: int) -> Iterator[None]:
        command = [sys.executable, "-m", "hseie", "up", "--data", str(self.data), "--port", str(port)]
        with (self.data / "log").open("w") as log:
            node = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.tree, env=os.environ | self.environ
            )
            assert node.stdout is not None
            if "ready" not in node.stdout.readline():
                raise SystemExit((self.data / "log").read_text()[-2000:])
            try:
                yield
            finally:
                node.send_signal(signal.SIGTERM)
                node.wait(60)
                node.stdout.close()

    def acceptors(self) -> tuple[int, float]:
        """Requests and seconds of CPU of all acceptors, as their heartbeats tell."""
        rows = [row for row in json.loads(self.hseie("status", "--json"))["processes"] if row["role"] == "acceptor"]
        return sum(row["stats"]["requests"] for row in rows), sum(row["cpu_s"] for row in rows)


class Connection(asyncio.Protocol):
    """Sends a reading, waits for its answer, sends the next."""

    def __init__(self, numbers: Iterator[int], header: str, done: dict[bytes, int]) -> None:
        self._numbers, self._header, self._done = numbers, header, done
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        # One small answer comes in one piece, on loopback.
        status = data[9:12]
        self._done[status] = self._done.get(status, 0) + 1
        self._send()

    def _send(self) -> None:
        number = next(self._numbers)
        time_text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        device = f"METER_{number % DEVICES:05d}"
        body = f'{{"meterId":"{device}","kwhConsumedAc":0.5,"voltage":230.1,"timestamp":"{time_text}"}}'
        head = f"POST /v1/ingest/meter HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{self._header}"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())


def load(port: int, header: str, seconds: float, results: Any) -> None:
    """Send for so long; give back (answers by status, seconds)."""

    async def run() -> tuple[dict[bytes, int], float]:
        loop = asyncio.get_running_loop()
        numbers = itertools.count()
        done: dict[bytes, int] = {}
        connections = [
            await loop.create_connection(lambda: Connection(numbers, header, done), "127.0.0.1", port)
            for _ in range(CONNECTIONS)
        ]
        began = time.monotonic()
        before = dict(done)
        await asyncio.sleep(seconds)
        counted = {status: count - before.get(status, 0) for status, count in done.items()}
        took_s = time.monotonic() - began
        for transport, _ in connections:
            transport.close()
        return counted, took_s

    results.put(uvloop.run(run()))


def send(port: int, header: str, seconds: float) -> float:
    """Return the answers a second, all of which have to be 202."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=load, args=(port, header, seconds, results))
    process.start()
    statuses, took_s = results.get(timeout=seconds + 60)
    process.join()
    if set(statuses) != {b"202"}:
        raise SystemExit(f"not all were taken: {statuses}")
    return statuses[b"202"] / took_s


def measure(variant: Variant, seconds: float) -> None:
    port = free_port()
    with variant.running(port):
        send(port, variant.header, WARM_UP_S)
        time.sleep(1.5)  # until the heartbeats have told of it
        requests, cpu_s = variant.acceptors()
        variant.per_s.append(send(port, variant.header, seconds))
        time.sleep(1.5)
        requests_after, cpu_s_after = variant.acceptors()
    variant.cpu_us.append((cpu_s_after - cpu_s) / (requests_after - requests) * 1e6)
    print(f"  {variant.name:<8} {variant.per_s[-1]:9,.0f} requests/s   {variant.cpu_us[-1]:6.1f} µs", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load, a variant and round")
    parser.add_argument("--tree", type=Path, help="another checkout, measured with auth.mode none")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hseie-bench-"))
    variants = [
        Variant("none", ROOT, {"HSEIE_AUTH__MODE": "none"}, folder / "none"),
        Variant("keys", ROOT, {"HSEIE_AUTH__MODE": "keys"}, folder / "keys"),
    ]
    if arguments.tree is not None:
        variants.append(Variant("tree", arguments.tree.resolve(), {}, folder / "tree"))
    try:
        for variant in variants:
            variant.data.mkdir()
        keyed = variants[1]
        keyed.header = f"Authorization: Bearer {keyed.hseie(*KEY).strip()}\r\n"
        print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
        for number in range(arguments.rounds):
            print(f"round {number + 1}")
            for variant in variants:
                measure(variant, arguments.seconds)
        show(variants, arguments.json)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ratio(figures: list[float], base: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(figures, base, strict=True))


def show(variants: list[Variant], file: Path | None) -> None:
    base = variants[0]
    print("medians, and those of the rounds' ratios to auth.mode none:")
    for variant in variants:
        per_s, cpu_us = statistics.median(variant.per_s), statistics.median(variant.cpu_us)
        rate, cost = ratio(variant.per_s, base.per_s), ratio(variant.cpu_us, base.cpu_us)
        print(f"  {variant.name:<8} {per_s:9,.0f} requests/s ({rate:.3f})   {cpu_us:6.1f} µs a request ({cost:.3f})")
    if file is not None:
        file.write_text(json.dumps({v.name: {"per_s": v.per_s, "cpu_us": v.cpu_us} for v in variants}, indent=1))


if __name__ == "__main__":
    main()
