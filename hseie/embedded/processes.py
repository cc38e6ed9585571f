"""The processes of PostgreSQL that work on one cluster, found and signalled without ever hitting somebody else's."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

# Asked politely first, each time with the seconds it gets: fast shutdown, immediate shutdown, the end.
STAGES = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


def on_cluster(cluster: Path) -> dict[int, int]:
    """Pid and parent's pid of every PostgreSQL process on that cluster.

    PostgreSQL works with its cluster as working directory, from the postmaster to the last backend. That and the
    program's name tell; the pid in postmaster.pid does not: after a crash another program may have got it.
    """
    try:
        wanted = cluster.stat()
    except FileNotFoundError:
        return {}
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            here = (entry / "cwd").stat()
            name, _, rest = (
                (entry / "stat").read_text(encoding="utf-8", errors="replace").partition("(")[2].rpartition(")")
            )
        except OSError:
            continue  # ended in between, or belongs to another user and so is not ours
        state, parent = rest.split()[:2]
        if name == "postgres" and state != "Z" and os.path.samestat(here, wanted):
            found[int(entry.name)] = int(parent)
    return found


def end_all(cluster: Path, on_wait: Callable[[str], None], patience_s: float = STAGES[0][1]) -> bool:
    """Ends what an earlier life left on the cluster; at most `patience_s` and 20 s. True when nothing is left."""
    for number, stage_s in STAGES:
        seconds = patience_s if number is signal.SIGINT else stage_s
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while remaining := on_cluster(cluster):
            if time.monotonic() > deadline:
                break
            # The postmaster passes a shutdown on to its children: only orphans are spoken to, and all at the end.
            for pid, parent in remaining.items():
                if pid not in asked and (parent not in remaining or number is signal.SIGKILL):
                    _signal(pid, cluster, number)
                    asked.add(pid)
            on_wait(f"waiting for the PostgreSQL of an earlier start to end (pid {min(remaining)})")
            time.sleep(0.05)
        else:
            return True
    return not on_cluster(cluster)


def _signal(pid: int, cluster: Path, number: signal.Signals) -> None:
    # The descriptor keeps meaning one process; looked at once more after that, it cannot be a newcomer with its pid.
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if pid in on_cluster(cluster):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
