"""The commands against a running node, as a user types them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 90.0
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def eventually(look: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in {PATIENCE_S} s: {what}")


def free_port() -> int:
    """A port whose successor is free too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class Cli:
    """Runs `hseie` on one data folder and database; nodes that are started here end with the test."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.started: list[subprocess.Popen[bytes]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HSEIE_", "PG", "DB_"))}
        self.environ = {**kept, "DATABASE_URL": url, "HSEIE_POSTGRES__MIGRATE": "always"}

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "out").open("wb") as out, (self.folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "hseie", *arguments, "--data", str(self.folder / "data")]
            self.started.append(
                subprocess.Popen([*command, "--port", str(self.port)], stdout=out, stderr=log, env=self.environ)
            )
        return self.started[-1]

    def out(self) -> str:
        return (self.folder / "out").read_text()

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "hseie", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environ, timeout=PATIENCE_S, check=False
        )

    def on_node(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run(*arguments, "--data", str(self.folder / "data"))


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Iterator[Cli]:
    cli = Cli(tmp_path, database_url)
    yield cli
    for process in cli.started:
        process.kill()
        process.wait()


def test_the_life_of_a_node(cli: Cli, database_url: str) -> None:
    node = cli.start("up")
    eventually(lambda: "ready" in cli.out() or node.poll() is not None, "ready")
    assert cli.out() == (
        f"HSEIE ready: http://127.0.0.1:{cli.port} (data {cli.folder / 'data'}, 2 acceptors, 2 writers)\n"
    )
    eventually(lambda: cli.on_node("status").returncode == 0, "all is well")
    status = json.loads(cli.on_node("status", "--json").stdout)
    assert status["ready"] is True
    assert status["node"]["pid"] == node.pid
    assert status["node"]["postgres"] == "external"
    roles = [row["role"] for row in status["processes"]]
    assert sorted(roles) == ["acceptor", "acceptor", "analytics", "maintenance", "writer", "writer"]

    assert cli.on_node("config", "show", "--json").returncode == 0
    assert "The schema is up to date." in cli.on_node("migrate", "--check").stdout
    assert cli.on_node("psql", "-tAc", "SELECT 6 * 7").stdout.strip() == "42"
    audit = json.loads(cli.on_node("audit", "--json").stdout)
    assert (audit["balanced"], audit["kinds"]["meter"]["in_flight"]) == (True, 0)

    second = cli.on_node("up")
    assert second.returncode == 75
    assert second.stderr.splitlines()[-1].startswith(f"hseie: another node (pid {node.pid}) runs on")
    third = cli.run("up", "--data", str(cli.folder / "other"), "--port", str(cli.port))
    assert third.returncode == 75
    assert f"hseie: port {cli.port} is taken" in third.stderr

    for _ in range(3):  # impatient, and still an orderly stop
        node.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert node.wait(PATIENCE_S) == 0
    assert cli.on_node("status").returncode == 69


def test_a_node_starts_and_stops_while_postgresql_is_away(cli: Cli) -> None:
    cli.environ |= {"DATABASE_URL": NOWHERE, "HSEIE_POSTGRES__MIGRATE": "auto"}
    node = cli.start("up")
    eventually(lambda: "ready" in cli.out() or node.poll() is not None, "ready")
    status = cli.on_node("status")
    assert status.returncode == 1
    assert "PostgreSQL does not answer" in status.stdout
    assert "Traceback" not in (cli.folder / "log").read_text()
    assert cli.on_node("migrate").stderr.startswith("hseie: no connection to PostgreSQL")
    node.send_signal(signal.SIGTERM)
    assert node.wait(PATIENCE_S) == 0


def test_a_node_whose_terminal_is_closed_stops_in_order(cli: Cli) -> None:
    # The terminal lives as long as the process that holds its other end; then the kernel sends SIGHUP.
    on_terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    command = [sys.executable, "-c", on_terminal, sys.executable, "-m", "hseie", "up", "--port", str(cli.port)]
    with (cli.folder / "out").open("wb") as out:
        holder = subprocess.Popen(
            [*command, "--data", str(cli.folder / "data")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            env={**cli.environ, "HSEIE_LOG__FORMAT": "json"},
        )
    cli.started.append(holder)
    lock = cli.folder / "data" / "node.lock"
    eventually(lambda: "HSEIE ready" in cli.out() or holder.poll() is not None, "ready")
    pid = int(lock.read_text())
    os.kill(pid, signal.SIGHUP)  # the terminal is there: this one asks for a reload
    eventually(lambda: "reload_ended" in cli.out(), "reloaded")
    holder.kill()
    eventually(lambda: lock.read_text() == "", "the lock was given back in order")
    assert cli.on_node("status").returncode == 69


def test_the_demo(cli: Cli) -> None:
    demo = cli.start("demo", "--devices", "20")
    eventually(lambda: "p99" in cli.out() or demo.poll() is not None, "rates are shown")
    out = cli.out()
    for part in ("HSEIE ready: ", "one car ", "20 meters and 20 vehicles", "received ", "committed ", "waiting "):
        assert part in out
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE_S) == 0
    assert cli.out().endswith("Stopped. The data is kept; `hseie demo` goes on with it.\n")
    audit = json.loads(cli.on_node("audit", "--json").stdout)
    assert audit["balanced"] is True
    assert audit["kinds"]["meter"]["stored"] >= 20 * 30
    assert (cli.folder / "log").read_text() == ""
