"""The embedded PostgreSQL: a private server under the data folder, made, started, watched and stopped by HSEIE itself.

    <data>/postgres/
      pgdata/        the cluster; hseie.conf and pg_hba.conf in it are written anew at every start
      pgdata/log/    its log, at most seven files of 10 MB
      password port  what the url is made of, readable by us only
      startup.log    what the server said before it opened its log

It listens on 127.0.0.1 only, and asks for the password. Its life is tied to the thread that called start(): when that
one ends, also by kill -9, the kernel asks the server for a fast shutdown. So call start() from the main thread.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from hseie.durable import replace, sync_folder
from hseie.embedded import cluster, identity, processes
from hseie.embedded.binaries import Binaries, copy_within_reach, find_binaries
from hseie.embedded.identity import Standing
from hseie.embedded.log import ServerLog
from hseie.errors import EmbeddedPostgresError

__all__ = ["Binaries", "EmbeddedPostgres", "find_binaries", "read_url"]

ROLE = cluster.ROLE
DATABASE = "hseie"
HOST = "127.0.0.1"
CLIENT_TIMEOUT_S = 60.0
POLL_S = 0.02
TRIM_INTERVAL_S = 60.0
PORT_ATTEMPTS = 5


class Log(Protocol):
    """The part of a structlog logger that is used."""

    def info(self, event: str, **fields: object) -> object: ...


def read_url(folder: Path) -> str | None:
    """The url of the server under that folder (<data>/postgres), running or not; None before its first start.

    Raises EmbeddedPostgresError when the folder may not be read.
    """
    try:
        password = (folder / "password").read_text(encoding="ascii").strip()
        port = (folder / "port").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot read {folder}: {error.strerror}; are you the user of the node?") from None
    return f"postgresql://{ROLE}:{password}@{HOST}:{port}/{DATABASE}"


class EmbeddedPostgres:
    """One server on one folder. The caller holds the lock that keeps a second one away from the folder."""

    def __init__(
        self,
        folder: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        settings: Mapping[str, str] | None = None,
        log: Log | None = None,
    ) -> None:
        """`folder` is ours alone; `settings` go over the ones derived from the machine."""
        self._folder = folder.absolute()
        self._cluster = self._folder / "pgdata"
        self._environ = environ
        self._settings = dict(settings or {})
        self._log = log
        self._server_log = ServerLog(self._folder, self._cluster)
        self._trimmed_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the postmaster we started, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def alive(self) -> bool:
        """Does the server run? Also removes the oldest log files, since this is asked again and again."""
        if time.monotonic() - self._trimmed_at > TRIM_INTERVAL_S:
            self._trimmed_at = time.monotonic()
            self._server_log.trim()
        return self.pid is not None

    def url(self) -> str | None:
        """See read_url."""
        return read_url(self._folder)

    def start(self, timeout_s: float = 600.0, on_wait: Callable[[str], None] | None = None) -> str:
        """Makes the cluster if there is none, starts it and answers its url once it takes connections.

        Recovery after a crash is waited for as long as the server lives; anything else for `timeout_s` seconds.
        `on_wait` hears about once a second what is being waited for; an exception out of it ends the wait and the
        server. Raises EmbeddedPostgresError with the end of the server's log.
        """
        try:
            return self._start(timeout_s, _once_a_second(on_wait))
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedPostgresError(f"The PostgreSQL under {self._folder} cannot be started: {error}") from error

    def stop(self, timeout_s: float = 60.0) -> None:
        """Fast shutdown; after `timeout_s` seconds immediate shutdown, 10 s later kill. Nothing when it is not ours."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 10.0), (signal.SIGKILL, None)):
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience_s)
        # After a clean end nobody is left; the children of a killed postmaster may be.
        processes.end_all(self._cluster, lambda _: None, patience_s=2.0)

    def _start(self, timeout_s: float, notify: Callable[[str], None]) -> str:
        if not self.alive():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self._folder.parent)
            major = cluster.major_version(self._cluster)
            if major is not None and not (self._folder / "password").exists():
                raise EmbeddedPostgresError(f"{self._folder}/password is gone, and nothing else opens the database.")
            binaries, standing = self._prepare(major, notify)
            try:
                self._launch(binaries, standing, timeout_s, notify)
                self._ensure_database(binaries, first_start=major is None)
            except BaseException:
                self.stop(timeout_s=10.0)
                raise
            self._say("postgres.ready", pid=self.pid)
        url = self.url()
        if url is None:
            raise EmbeddedPostgresError(
                f"Somebody has removed {self._folder}/password or port beneath the running server."
            )
        return url

    def _prepare(self, major: int | None, notify: Callable[[str], None]) -> tuple[Binaries, Standing]:
        """Everything before the server runs: who, with which programs, on a cluster nobody else works on."""
        binaries = find_binaries(self._environ, major)
        standing = identity.choose(self._folder, binaries.bindir / "postgres")
        if standing.identity.kind == "user":
            self._folder.chmod(0o711)  # ours: the server has to get through to its cluster, not to read beside it
        if not standing.reaches_programs:
            binaries = copy_within_reach(binaries, self._folder if standing.reaches_folder else None)
        self._say("postgres.chosen", version=str(binaries), identity=standing.identity.kind)
        if major is None:
            notify("making a new database cluster")
            cluster.create(self._folder, binaries, standing, self._environment())
        if not processes.end_all(self._cluster, notify):
            raise EmbeddedPostgresError(f"A PostgreSQL of an earlier start on {self._cluster} does not end.")
        cluster.forget_foreign_pid(self._cluster)
        cluster.hand_over(self._cluster, standing)
        cluster.configure(self._cluster, binaries, standing, self._settings)
        return binaries, standing

    def _launch(self, binaries: Binaries, standing: Standing, timeout_s: float, notify: Callable[[str], None]) -> None:
        """Starts the postmaster and returns when it takes connections, on another port where its own was snatched."""
        self._server_log.trim()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            port = self._choose_port(again=attempt > 1)
            replace(self._folder / "port", f"{port}\n")
            self._process = self._spawn_postmaster(binaries, standing, port)
            if self._wait_until_ready(self._process, timeout_s, notify):
                return
            # Its log collector outlives it by a moment, and has the reason.
            processes.end_all(self._cluster, lambda _: None, patience_s=2.0)
            tail = self._server_log.tail()
            # Somebody took the port between our look and PostgreSQL's; anything else will not get better.
            if "could not bind" not in tail or attempt == PORT_ATTEMPTS:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start (exit {self._process.returncode}). The end of its log:\n{tail}"
                )

    def _spawn_postmaster(self, binaries: Binaries, standing: Standing, port: int) -> subprocess.Popen[bytes]:
        # On the command line, where no ALTER SYSTEM can open the server to others.
        fixed = [f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories="]
        options = [part for setting in fixed for part in ("-c", setting)]
        self._server_log.mark_start()
        with (
            standing.opened(self._cluster) as cluster,
            open(self._server_log.startup, "wb", opener=_private) as startup_log,
        ):
            program = [str(binaries.bindir / "postgres"), "-D", cluster.argument, *options]
            return subprocess.Popen(
                identity.command(standing.identity, program),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=startup_log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                pass_fds=cluster.descriptors,
                start_new_session=True,  # Ctrl-C in the terminal is the supervisor's affair
            )

    def _wait_until_ready(
        self, process: subprocess.Popen[bytes], timeout_s: float, notify: Callable[[str], None]
    ) -> bool:
        """False when the server ended instead. Once it has said that it recovers, nothing but its end ends the wait."""
        deadline = time.monotonic() + timeout_s
        recovering = False
        while process.poll() is None:
            if cluster.reported_state(self._cluster, process.pid) == "ready":
                return True
            tail = self._server_log.tail()
            recovering = recovering or "database system was interrupted" in tail or "automatic recovery" in tail
            if not recovering and time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL was not ready after {timeout_s:.0f} s and was stopped. The end of its log:\n{tail}"
                )
            notify(f"{'recovering' if recovering else 'starting'}: {tail.rpartition(chr(10))[2]}")
            time.sleep(POLL_S)
        return False

    def _choose_port(self, *, again: bool) -> int:
        """The former port if nobody has taken it meanwhile, else one the kernel gives us."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            former = int((self._folder / "port").read_text(encoding="ascii"))
            if not again and _free(former):
                return former
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])

    def _ensure_database(self, binaries: Binaries, *, first_start: bool) -> None:
        """Creates the database where it is missing (also after a kill before that), and sees that our url opens it."""
        missing = first_start
        for _ in range(2):
            if missing:
                self._client(binaries, "createdb", "--maintenance-db=postgres", DATABASE)
            connected = self._client(binaries, "psql", "-X", "-q", "-d", DATABASE, "-c", "")
            if connected.returncode == 0:
                return
            missing = f'database "{DATABASE}" does not exist' in connected.stderr
        raise EmbeddedPostgresError(
            f"PostgreSQL runs but refuses us: {connected.stderr.strip()}\nIts log ends with:\n{self._server_log.tail()}"
        )

    def _client(self, binaries: Binaries, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        login = {
            "PGHOST": HOST,
            "PGPORT": (self._folder / "port").read_text(encoding="ascii").strip(),
            "PGUSER": ROLE,
            "PGPASSWORD": (self._folder / "password").read_text(encoding="ascii").strip(),
            "PGSSLMODE": "disable",
            "PGCONNECT_TIMEOUT": "30",
        }
        return subprocess.run(
            [binaries.bindir / program, "-w", *arguments],  # -w: never ask on the terminal
            env=self._environment() | login,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        # Nothing of PG* may reach the programs: each of them is a setting. English messages, as they are read here.
        kept = {name: self._environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME") if name in self._environ}
        return kept | {"LC_ALL": "C", "TZ": "UTC"}

    def _say(self, event: str, **fields: object) -> None:
        if self._log is not None:
            self._log.info(event, **fields)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL: dying connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _once_a_second(on_wait: Callable[[str], None] | None) -> Callable[[str], None]:
    said_at = float("-inf")

    def notify(message: str) -> None:
        nonlocal said_at
        if on_wait is not None and time.monotonic() - said_at >= 1.0:
            said_at = time.monotonic()
            on_wait(message)

    return notify
