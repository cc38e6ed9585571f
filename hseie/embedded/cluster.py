"""The files of the embedded cluster: made so that a kill at any moment leaves a folder that starts the next time."""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from hseie.durable import replace, sync_folder
from hseie.embedded import identity, processes
from hseie.embedded.binaries import Binaries, configure_options
from hseie.embedded.identity import Standing
from hseie.embedded.settings import HBA, configuration_file, for_ingest, this_machine
from hseie.errors import EmbeddedPostgresError

ROLE = "hseie"
INITDB_TIMEOUT_S = 300.0


def major_version(cluster: Path) -> int | None:
    """The version that made the cluster, None where there is none. EmbeddedPostgresError where it is something else."""
    if not cluster.exists():
        return None
    try:
        return int((cluster / "PG_VERSION").read_text(encoding="ascii").split(".")[0])
    except (FileNotFoundError, ValueError):
        raise EmbeddedPostgresError(
            f"{cluster} is not a database cluster: it has no PG_VERSION. Restore it, or move it away and lose its data."
        ) from None


def _remove(leftover: Path) -> None:
    # A killed initdb may still be clearing up after itself, and put a file where one was just removed.
    for _ in range(20):
        shutil.rmtree(leftover, ignore_errors=True)
        if not leftover.exists():
            return
        time.sleep(0.1)


def create(folder: Path, binaries: Binaries, standing: Standing, environment: Mapping[str, str]) -> None:
    """Makes `folder`/pgdata: initdb beside the final name, and a rename when all is on disk."""
    for leftover in folder.glob("pgdata.new.*"):
        processes.end_all(leftover, lambda _: None, patience_s=2.0)
        _remove(leftover)
    if not (folder / "password").exists():
        replace(folder / "password", secrets.token_urlsafe(24))  # 192 bits, and nothing a url would have to escape
    new = Path(tempfile.mkdtemp(prefix="pgdata.new.", dir=folder))
    os.chown(new, *standing.identity.owner())
    arguments = ["-U", ROLE, "-A", "scram-sha-256", "--pwfile=/proc/self/fd/0", "-E", "UTF8", "--data-checksums"]
    # Byte order sorts fastest and never changes with the C library, which would corrupt indexes on text.
    arguments.append("--no-locale")
    # The password travels in a file without a name: one with a name may be out of reach for whom initdb runs as.
    with standing.opened(new) as cluster, os.fdopen(os.memfd_create("password"), "wb") as password:
        password.write((folder / "password").read_bytes())
        password.flush()
        result = subprocess.run(
            identity.command(standing.identity, [str(binaries.bindir / "initdb"), "-D", cluster.argument, *arguments]),
            cwd="/",
            stdin=password,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            pass_fds=cluster.descriptors,
            start_new_session=True,
            timeout=INITDB_TIMEOUT_S,
            check=False,
        )
    if result.returncode != 0:
        raise EmbeddedPostgresError(
            f"initdb failed in {new} (exit {result.returncode}): {result.stdout}{result.stderr}".strip()
        )
    main = (new / "postgresql.conf").read_text(encoding="utf-8")
    replace(new / "postgresql.conf", f"{main}\ninclude_if_exists = 'hseie.conf'\n", standing.identity.owner())
    new.rename(folder / "pgdata")
    sync_folder(folder)


def hand_over(cluster: Path, standing: Standing) -> None:
    """Gives the cluster to whom it runs as now: somebody else after a move into a container without namespaces."""
    uid, gid = standing.identity.owner()
    found = cluster.stat().st_uid
    if found == uid:
        return
    if os.geteuid() != 0:
        raise EmbeddedPostgresError(
            f"{cluster} belongs to user id {found}. Start HSEIE as that user, or choose another --data."
        )
    # The top comes last: a kill in the middle leaves a cluster that is handed over again.
    for folder, _, files in os.walk(cluster, topdown=False):
        for name in (*files, ""):
            os.chown(Path(folder, name), uid, gid, follow_symlinks=False)


def configure(cluster: Path, binaries: Binaries, standing: Standing, settings: Mapping[str, str]) -> None:
    """Writes settings (`settings` over the derived) and access rules: those of a newer HSEIE reach old clusters."""
    machine = this_machine(cluster)
    chosen = for_ingest(machine, configure_options(binaries)) | dict(settings)
    replace(cluster / "hseie.conf", configuration_file(chosen), standing.identity.owner())
    replace(cluster / "pg_hba.conf", HBA, standing.identity.owner())


def forget_foreign_pid(cluster: Path) -> None:
    """Removes a postmaster.pid whose pid another program has by now. Call it when no PostgreSQL is left on the cluster.

    PostgreSQL clears up after a dead predecessor itself, but refuses where that pid lives, whoever it is; and in
    containers the same few pids come again at every start.
    """
    pid_file = cluster / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid = int(pid_file.read_text(encoding="utf-8", errors="replace").split("\n")[0])
        if Path(f"/proc/{pid}").exists():
            pid_file.unlink()


def reported_state(cluster: Path, pid: int) -> str:
    """What the postmaster with that pid says of itself in line 8 of its pid file, as pg_ctl reads it; "" at first."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 and lines[0].strip() == str(pid) else ""
