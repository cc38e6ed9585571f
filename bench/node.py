"""A whole node under load: what it takes in, how fast it answers, and what that costs each process.

    .venv/bin/python bench/node.py nominal     # 10,000 meters and 10,000 vehicles, a reading a minute each, 5 minutes
    .venv/bin/python bench/node.py batches     # 1,000 readings a request, full rate, 30 s
    .venv/bin/python bench/node.py singles     # one reading a request, full rate, 30 s

Starts its own node on a free port and an embedded PostgreSQL in a temporary folder; node, PostgreSQL and the load share
the machine. Prints a table for README. Committed readings a second count to the moment the last one is in PostgreSQL.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCENARIOS = {
    "nominal": ["--devices", "10000", "--interval-ms", "60000", "--duration", "300"],
    "batches": ["--devices", "10000", "--fast", "--batch", "1000", "--concurrency", "8", "--duration", "30"],
    "singles": ["--devices", "10000", "--fast", "--batch", "1", "--concurrency", "256", "--duration", "30"],
}
SAMPLES = 6  # of memory, spread over the run
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return port


def hseie(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hseie", *arguments], capture_output=True, text=True, **more)


@contextlib.contextmanager
def running_node(data: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "hseie", "up", "--data", str(data), "--port", str(port)]
    with (data / "log").open("w") as log:
        node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert node.stdout is not None
        if "ready" not in node.stdout.readline():
            raise SystemExit((data / "log").read_text()[-2000:])
        try:
            yield
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(60)
            node.stdout.close()


def processes(data: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads(hseie("status", "--json", "--data", str(data)).stdout)["processes"]
    found = {row["name"]: row for row in rows}
    found["postgres"] = postgres_usage(found["postgres"]["pid"])
    return found


def postgres_usage(postmaster: int) -> dict[str, Any]:
    """CPU seconds of the server and its backends, ended ones too; memory without the shared part."""
    cpu, rss = 0.0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(folder.name) == postmaster:
                cpu += sum(map(int, fields[11:15])) / CLOCK_TICKS
            elif int(fields[1]) == postmaster:
                cpu += sum(map(int, fields[11:13])) / CLOCK_TICKS
            else:
                continue
            resident, shared = (int(text) for text in (folder / "statm").read_text().split()[1:3])
            rss += (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return {"cpu_s": cpu, "rss_bytes": rss}


def wait_until_committed(data: Path) -> None:
    while any(
        figures["waiting"] + figures["active"]
        for row in processes(data).values()
        if row.get("role") == "writer"
        for figures in row["stats"]["kinds"].values()
    ):
        time.sleep(0.1)


def run(scenario: str) -> dict[str, Any]:
    data = Path(tempfile.mkdtemp(prefix="hseie-bench-"))
    port = free_port()
    summary = data / "summary.json"
    try:
        with running_node(data, port):
            before = processes(data)
            began = time.monotonic()
            command = [sys.executable, "-m", "simulator", "--url", f"http://127.0.0.1:{port}"]
            command += ["--quiet", "--json", str(summary), *SCENARIOS[scenario]]
            load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            pause_s = float(SCENARIOS[scenario][-1]) / SAMPLES
            memory = []
            while load.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    load.wait(pause_s)
                memory.append({name: row["rss_bytes"] >> 20 for name, row in processes(data).items()})
            wait_until_committed(data)
            took_s = time.monotonic() - began
            after = processes(data)
            time.sleep(1)
            audit = hseie("audit", "--json", "--data", str(data))
        return {
            "summary": json.loads(summary.read_text()),
            "took_s": took_s,
            "cpu_s": {name: after[name]["cpu_s"] - before[name]["cpu_s"] for name in after},
            "memory_mb": {name: [sample[name] for sample in memory] for name in after},
            "balanced": audit.returncode == 0,
        }
    finally:
        shutil.rmtree(data, ignore_errors=True)


def show(scenario: str, result: dict[str, Any]) -> None:
    summary, took_s = result["summary"], result["took_s"]
    latency = summary["latency_ms"]
    readings = summary["accepted"]
    print(f"{scenario}: {platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"  readings       {summary['readings']:,} sent, {readings:,} accepted, {summary['failed']} failed")
    print(f"  committed      {readings / took_s:,.0f} readings/s")
    print(f"  ack latency    p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, p99.9 {latency['p99.9']:.1f} ms")
    print(f"  books          {'balanced' if result['balanced'] else 'NOT BALANCED'}")
    print("  process        CPU of a core   µs a reading   memory over time, MB")
    for name, cpu_s in sorted(result["cpu_s"].items()):
        memory = " ".join(map(str, result["memory_mb"][name]))
        print(f"  {name:<14} {cpu_s / took_s:13.1%}   {cpu_s / readings * 1e6:12.1f}   {memory}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenario", choices=SCENARIOS, nargs="+")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    results = {}
    for scenario in arguments.scenario:
        results[scenario] = run(scenario)
        show(scenario, results[scenario])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
