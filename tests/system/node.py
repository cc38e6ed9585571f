"""A node as its users start it, and a fleet that sends to it: real processes, looked at from outside.

Everything goes through the command line, HTTP and SQL. What is started here is also ended here, by its own pid.
"""

import asyncio
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hseie.database import with_connection
from hseie.embedded.processes import on_cluster

PATIENCE_S = 60.0
PYTHON = (sys.executable, "-m", "hseie")

# Becomes what comes after it, and ends with us, also when we are killed or a time-out ends us without a farewell.
TIE = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
TIED = (sys.executable, "-I", "-S", "-c", TIE, *PYTHON)

T = TypeVar("T")


def eventually(look: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first truthy answer of `look`; bounds are generous, because machines are shared."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in {patience_s} s: {what}")


def free_port() -> int:
    """A port whose successor is free as well: analytics takes that one.

    Below the range out of which the kernel gives ports to outgoing connections: one of those could take it before its
    node does, or while the node is down for a moment.
    """
    while True:
        port = random.randrange(15_000, 32_000, 2)
        if is_free(port) and is_free(port + 1):
            return port


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def clean_environ(**more: str) -> dict[str, str]:
    """Our environment without anything that configures HSEIE or the simulator, and `more`."""
    ours = ("HSEIE_", "PG", "DB_", "DATABASE_URL")
    names = {"PORT", "USE_QUEUE", "API_URL", "API_CA", "API_KEY", "NUM_DEVICES", "INTERVAL_MS", "FAST_MODE"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "HSEIE_PG_BINDIR" or not (name.startswith(ours) or name in names)
    }
    return kept | more


def is_running(pid: int) -> bool:
    """Whether the process still does anything; one that waits to be reaped by somebody else does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Answer(NamedTuple):
    """Status, body (JSON where it is) and headers of an answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Node:
    """`hseie up` on one data folder and one port, through all its lives."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.environ = clean_environ(**environ)
        self.process: subprocess.Popen[bytes] | None = None
        self._out = folder / "stdout"
        self._log = folder / "stderr"

    # --- its lives ----------------------------------------------------------------------------------------------------

    def start(self, **environ: str) -> "Node":
        """Start it, with these changes to the environment for good, and wait until it says `ready` and means it."""
        self.launch(**environ)
        eventually(self.is_ready, "/readyz answers 200")
        return self

    def launch(self, **environ: str) -> None:
        """As `start`, but content with the word: /readyz stays at 503 while PostgreSQL is away."""
        self.environ |= environ
        self.spawn()
        eventually(self._said_ready, "the node says ready")

    def spawn(self) -> "subprocess.Popen[bytes]":
        """As `launch`, but wait for nothing."""
        command = [*TIED, "up", "--data", str(self.data), "--port", str(self.port)]
        with self._out.open("wb") as out, self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=self.environ, start_new_session=True
            )
        return self.process

    def _said_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"the node ended with {code}: {self.tail()}"
        return "ready" in self._out.read_text()

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        """SIGTERM; an orderly stop ends with exit code 0."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        assert code == 0, f"exit {code} after SIGTERM: {self.tail()}"
        self.process = None

    def kill_supervisor(self) -> None:
        """kill -9 of the process that was started; everything else has to end by itself, and soon."""
        assert self.process is not None
        pids = list(self.children().values())
        self.process.kill()
        self.process.wait()
        self.process = None
        eventually(lambda: not any(map(is_running, pids)), "no process of the node is left", 30)
        eventually(lambda: not self.postgres_pids(), "no process of its PostgreSQL is left", 30)
        # A process counts as gone when its first thread is; its sockets are closed with its last.
        eventually(lambda: is_free(self.port), "no orphan listens", 30)

    def end(self) -> None:
        """Whatever the test left running, ends."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGCONT)  # a stopped one would not hear that its parent is gone
            self.process.kill()
            self.process.wait()
        until = time.monotonic() + 20
        while self.postgres_pids() and time.monotonic() < until:
            time.sleep(0.05)

    def postgres_pids(self) -> list[int]:
        """Processes of the embedded server."""
        return list(on_cluster(self.data / "postgres" / "pgdata"))

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:]) if self._log.exists() else ""

    # --- its command line ---------------------------------------------------------------------------------------------

    def command(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """A command of hseie on this node, as it is."""
        return subprocess.run(
            [*PYTHON, *arguments, "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environ | environ,
            timeout=PATIENCE_S,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """`hseie status --json`: also when something is wrong, which the exit code tells."""
        done = self.command("status", "--json")
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def processes(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.status()["processes"]}

    def children(self) -> dict[str, int]:
        """Names and pids of the processes that run at the moment, PostgreSQL among them where it is ours."""
        return {name: row["pid"] for name, row in self.processes().items() if row["pid"]}

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a child; the pid it has, or had."""
        pid = self.children()[name]
        os.kill(pid, number)
        return pid

    def until_back(self, name: str, former_pid: int, patience_s: float = 20.0) -> None:
        """Wait until a child that was killed is ready in a new life."""

        def back() -> bool:
            row = self.processes().get(name, {})
            return row.get("state") == "ready" and row["pid"] not in (None, former_pid)

        eventually(back, f"{name} is back", patience_s)

    def audit(self) -> dict[str, Any]:
        """`hseie audit --json`, whose exit code has to agree with what it says."""
        done = self.command("audit", "--json")
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) == document["balanced"], (done.returncode, document["differences"])
        return document

    def journals(self) -> list[dict[str, Any]]:
        """The journals of `hseie journal status --json`, none of which may have anything wrong with it."""
        done = self.command("journal", "status", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["journals"]
        return found

    def dsn(self) -> str:
        """The address of its database, as `hseie config show` tells it."""
        url: str = json.loads(self.command("config", "show", "--json").stdout)["postgres.url"]["value"]
        return url

    def sql(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement."""

        async def work(connection: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]

        return asyncio.run(with_connection(self.dsn(), "system tests", work))

    # --- its HTTP -----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> Answer:
        """One request on a connection of its own, to the acceptors or another `port`."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE_S)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            kind = {} if content is None else {"Content-Type": "application/json"}
            connection.request(method, path, content, kind | dict(headers or {}))
            response = connection.getresponse()
            raw = response.read()
            is_json = "json" in response.getheader("Content-Type", "")
            return Answer(response.status, json.loads(raw) if is_json and raw else raw, dict(response.getheaders()))
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, kind: str, body: Any, **headers: str) -> Answer:
        """Send a reading, or a list of them, of a kind."""
        return self.call("POST", f"/v1/ingest/{kind}", body, headers)

    def deliver(self, kind: str, body: Any, **headers: str) -> tuple[Answer, bool]:
        """As a device does it: 503 is for now, and asks to come again. The answer, and whether it took more than one.

        A second attempt may be told that the first one arrived.
        """
        until = time.monotonic() + PATIENCE_S
        retried = False
        while (answer := self.post(kind, body, **headers)).status == 503 and time.monotonic() < until:
            retried = True
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            time.sleep(0.1)  # sooner than asked, for the sake of our time
        return answer, retried


class Load:
    """`hseie simulate`: a fleet that sends to a node and keeps a ledger of it. `options` are its long options."""

    def __init__(self, node: Node, name: str, **options: str | float) -> None:
        self.ledger_file = node.folder / f"{name}.ledger"
        self._summary = node.folder / f"{name}.json"
        self._log = node.folder / f"{name}.log"
        given = {"url": node.url, "ledger": self.ledger_file, "json": self._summary, "timeout": 20, **options}
        arguments = [
            f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}") for key, value in given.items()
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*TIED, "simulate", "--quiet", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environ(),
            )

    def stop(self) -> dict[str, Any]:
        """Stop the fleet, wait for the answers to what it has sent, and return its summary."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        assert code == 0, f"the simulator ended with {code}: {self._log.read_text(errors='replace')}"
        summary = self.summary()
        names = ("accepted", "duplicates", "rejected", "failed", "unknown", "retried", "readings_per_s", "statuses")
        print("the fleet:", {name: summary[name] for name in names})
        assert summary["miscounted"] == 0
        return summary

    def summary(self) -> dict[str, Any]:
        """The summary of a fleet that has ended."""
        found: dict[str, Any] = json.loads(self._summary.read_text())
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
