"""One process as the supervisor sees it: spawned, listened to, signalled, reaped."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hseie.config import Config
from hseie.config_change import fingerprint
from hseie.control import Heartbeat, ProcessState
from hseie.errors import ExitCode
from hseie.process import RELIEF_SIGNAL, ProcessSpec, run
from hseie.supervisor.policy import describe_exit

_spawn = get_context("spawn")


@dataclass(frozen=True)
class LastExit:
    """How the former life of a process ended; `code` is negative for a signal, `at` in seconds since 1970."""

    code: int
    text: str
    at: float

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "text": self.text, "at": self.at}


class Member:
    """A process that is to run, through all its lives. Times are of the monotonic clock, in seconds."""

    def __init__(self, spec: ProcessSpec, config: Config, run_dir: Path, generation: int = 1) -> None:
        self.spec = spec
        self.config = config
        self.state: ProcessState = "down"
        self.done = False  # a one-shot process that did its thing
        self.starts = 0
        self.failures = 0  # ends in a row
        self.started = 0.0
        self.last_beat: float | None = None
        self.last_exit: LastExit | None = None
        self.killed_because = ""
        self.beat: Heartbeat | None = None
        self.leaving = False  # it was relieved: its end is wanted, and no life follows
        self.on_trial = False  # never ready yet in a configuration that came by a reload
        self._run_dir = run_dir
        self._generation = generation
        self._fingerprint = fingerprint(config)
        self._process: Any = None
        self._last_words: Connection | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def settled(self) -> bool:
        """True when those that come after it in the start order may start."""
        return self.done if self.spec.once else self.state == "ready"

    def spawn(self, now: float) -> None:
        """Start the process. Raises OSError when the machine has no room for one more."""
        receiver, sender = _spawn.Pipe(duplex=False)
        # daemon: should the supervisor end by an exception, its interpreter does not wait for children for ever.
        process = _spawn.Process(
            target=run,
            args=(self.spec, self.config, self._run_dir, os.getpid(), sender),
            name=self.spec.name,
            daemon=True,
        )
        # It inherits what is blocked, and ignores a SIGHUP of the whole group from its first instruction on.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            sender.close()
        self._process = process
        self._last_words = receiver
        self.state = "starting"
        self.started = now
        self.starts += 1
        self.last_beat = self.beat = None
        self.killed_because = ""

    async def ended(self) -> int:
        """Wait for the end of the process, reap it and return its exit code; negative for a signal."""
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        sentinel = self._process.sentinel
        loop.add_reader(sentinel, end.set)
        try:
            await end.wait()
        finally:
            loop.remove_reader(sentinel)
        self._process.join()  # its files are closed already, so it is all but gone
        return self._reaped()

    def heard(self, beat: Heartbeat, now: float) -> bool:
        """Take in a heartbeat; True if the state changed. Late ones of a former life are not ours any more."""
        if beat.pid != self.pid:
            return False
        changed = beat.state != self.state
        self.state = beat.state
        self.on_trial = self.on_trial and beat.state != "ready"
        self.beat = beat
        self.last_beat = now
        return changed

    def forgive(self, absent_s: float) -> None:
        """Take time in which nobody listened off the silence of the process."""
        self.started += absent_s
        if self.last_beat is not None:
            self.last_beat += absent_s

    def not_started(self, reason: str) -> int:
        """Note that a start failed before there was a process; return the exit code that stands for it."""
        self.starts += 1
        self.last_exit = LastExit(int(ExitCode.FAILURE), reason, time.time())
        return int(ExitCode.FAILURE)

    def terminate(self) -> None:
        """Ask the process to drain (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def relieve(self) -> None:
        """Let the process end for good because a successor does its work."""
        self.leaving = True
        self._signal(RELIEF_SIGNAL)

    def kill(self, because: str) -> None:
        """End the process at once (SIGKILL); `because` becomes the reason of its end."""
        self.killed_because = because
        self._signal(signal.SIGKILL)

    def row(self, name: str, now: float) -> dict[str, Any]:
        """Return this process for the snapshot, in which it is called `name`."""
        beat = self.beat
        return {
            "name": name,
            "role": self.spec.role,
            "pid": self.pid,
            "state": self.state,
            "restarts": max(self.starts - 1, 0),
            "last_exit": self.last_exit.as_dict() if self.last_exit else None,
            "heartbeat_age_ms": round((now - self.last_beat) * 1000) if self.last_beat is not None else None,
            "generation": self._generation,
            "config": self._fingerprint,
            "uptime_s": round(now - self.started, 3) if self.running else 0.0,
            "rss_bytes": beat.rss_bytes if beat else 0,
            "cpu_s": beat.cpu_s if beat else 0.0,
            "open_files": beat.open_files if beat else 0,
            "open_files_max": beat.open_files_max if beat else 0,
            "loop_lag": beat.loop_lag if beat else {},
            "stats": beat.stats if beat else {},
        }

    def _signal(self, number: signal.Signals) -> None:
        # Not yet reaped, so the pid is still ours.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _reaped(self) -> int:
        code = int(self._process.exitcode)
        reason = self.killed_because
        if self._last_words is not None:
            with contextlib.suppress(EOFError, OSError):
                if self._last_words.poll():
                    reason = reason or self._last_words.recv_bytes().decode(errors="replace")
            self._last_words.close()
        self._process.close()
        self._process = self._last_words = None
        self.last_exit = LastExit(code, describe_exit(code, reason), time.time())
        self.state = "down"
        self.beat = None
        self.last_beat = None
        return code


def in_stop_order(members: Iterable[Member], roles: Sequence[str]) -> list[list[Member]]:
    """Return who is told to stop together, one group after the other; those of roles not named come first."""
    present = list(members)
    groups = [[member for member in present if member.spec.role not in roles]]
    groups += [[member for member in present if member.spec.role == role] for role in roles]
    return [group for group in groups if group]
