"""The body of every child: its loop, signals, heartbeat and exit code.

The supervisor starts `run` in a fresh interpreter (spawn). It sets up what all roles share and then waits for the
role's own coroutine, `serve(child, config, *args)`. The heartbeat is a task of the same loop, never a thread: a loop
that is stuck must look stuck.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import structlog
import uvloop

from hseie import clock, control, failpoints, histogram, logs
from hseie.bus import Dealer, ipc_endpoint
from hseie.config import Config
from hseie.errors import ExitCode, HseieError, NotReachableError
from hseie.histogram import Histogram

RELIEF_SIGNAL = signal.SIGUSR1

_PR_SET_PDEATHSIG = 1
_NOT_CONNECTED_RETRY_S = 0.02
_LAST_WORDS_BYTES_MAX = 2000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Which of several errors that struck at once decides the exit code: the first of these.
_WEIGHTIEST = (ExitCode.FENCED, ExitCode.CONFIG, ExitCode.STORAGE)


@dataclass(frozen=True)
class ProcessSpec:
    """What the supervisor knows of a process. Travels to the child by pickle, so `serve` is a function of a module."""

    name: str  # "writer-0", one of a kind
    role: str  # "writer"
    serve: Callable[..., Awaitable[None]]  # serve(child, config, *args)
    args: tuple[Any, ...] = ()
    once: bool = False  # does a thing at start and ends with 0; the next stage waits for that
    # How a running node replaces it. `beside`: the successor starts before the former stops. `jointly`: all processes
    # of the role belong together; another number of them replaces them as a whole, after the one-shot steps.
    beside: bool = False
    jointly: bool = False


class Child:
    """What a role's `serve` is given: who it is, when to stop, and how to tell that it serves."""

    def __init__(self, spec: ProcessSpec, run_dir: Path, heartbeat_s: float) -> None:
        """To be made inside the running loop."""
        self.name = spec.name
        self.role = spec.role
        self.run_dir = run_dir
        self.log: Any = structlog.get_logger("hseie").bind()
        self.stopping = asyncio.Event()  # set by SIGTERM: take nothing new, finish, return
        self.relieved = False  # with `stopping`: the node goes on, and a successor does this process's work
        self.report: Callable[[], dict[str, Any]] = dict  # figures for each heartbeat; cheap, msgpack types only
        self._state: Literal["starting", "ready"] = "starting"
        self._heartbeat_s = heartbeat_s
        self._report_failed = False
        self._loop_lag = Histogram(histogram.SECONDS)
        self._news = asyncio.Event()
        self._asked: dict[int, asyncio.Future[control.Snapshot]] = {}
        self._questions = 0
        self._dealer = Dealer(
            ipc_endpoint(run_dir, control.CONTROL), self._on_message, message_bytes_max=control.MESSAGE_BYTES_MAX
        )

    def ready(self) -> None:
        """Tell the supervisor that this process serves."""
        self._state = "ready"
        self._news.set()

    async def node_status(self, timeout_s: float = 1.0) -> control.Snapshot:
        """Ask the supervisor for its snapshot of all processes. Raises NotReachableError after `timeout_s` seconds."""
        self._questions += 1
        question = self._questions
        self._asked[question] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await control.deliver(self._dealer, control.encode(control.StatusRequest(question)))
                return await self._asked[question]
        except TimeoutError:
            raise NotReachableError("the supervisor does not answer") from None
        finally:
            del self._asked[question]

    async def beat(self, parent_pid: int) -> None:
        """Send heartbeats for ever; end the process at once when the supervisor is gone."""
        while True:
            if os.getppid() != parent_pid:
                os._exit(ExitCode.FAILURE)
            self._news.clear()
            sent = self._dealer.send(control.encode(self._heartbeat()))
            pause_s = self._heartbeat_s if sent else _NOT_CONNECTED_RETRY_S
            due = time.monotonic() + pause_s
            try:
                async with asyncio.timeout(pause_s):
                    await self._news.wait()
            except TimeoutError:
                self._loop_lag.observe(max(0.0, time.monotonic() - due))

    def announce_draining(self) -> None:
        """Answer SIGTERM; a second one changes nothing."""
        if not self.stopping.is_set():
            self.log.info("draining")
            self.stopping.set()
            self._news.set()

    def announce_relief(self) -> None:
        """Answer SIGUSR1: stop because a successor serves, or soon will."""
        if not self.stopping.is_set():
            self.relieved = True
            self.announce_draining()

    def _heartbeat(self) -> control.Heartbeat:
        return control.Heartbeat(
            name=self.name,
            pid=os.getpid(),
            state="draining" if self.stopping.is_set() else self._state,
            stats=self._stats(),
            rss_bytes=_rss_bytes(),
            cpu_s=time.process_time(),
            open_files=_open_files(),
            open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            loop_lag=self._loop_lag.report(),
        )

    def _stats(self) -> dict[str, Any]:
        try:
            return self.report()
        except Exception:
            # Figures are for watching; a mistake in them must not end a process that works.
            if not self._report_failed:
                self.log.exception("report_failed")
            self._report_failed = True
            return {}

    def _on_message(self, body: bytes) -> None:
        snapshot = control.decode_snapshot(body)
        asked = self._asked.get(snapshot.pop("id", 0))
        if asked is not None and not asked.done():
            asked.set_result(snapshot)


def run(spec: ProcessSpec, config: Config, run_dir: Path, parent_pid: int, last_words: Connection) -> None:
    """Be the process of `spec` until it ends; does not return. `last_words` takes the reason of a failure."""
    _die_with_parent(parent_pid)
    _allow_files()
    # Ctrl-C in a terminal and the end of a terminal reach the whole group; the supervisor orders what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # blocked by whoever started us, until here
    logs.configure(config.log.level, config.log.format, spec.name)
    failpoints.arm(spec.name, os.environ)
    clock.arm(os.environ)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    code, reason = runner.run(_live(spec, config, run_dir, parent_pid))
    with contextlib.suppress(OSError):  # nobody listens or reads any more; the exit code still counts
        last_words.send_bytes(reason.encode()[:_LAST_WORDS_BYTES_MAX])
        sys.stdout.flush()
    # Not by way of the interpreter's farewell: that waits for threads, and one of them may hang in a sync.
    os._exit(code)


async def _live(spec: ProcessSpec, config: Config, run_dir: Path, parent_pid: int) -> tuple[ExitCode, str]:
    """Start up, serve, and return how it ended: exit code and, unless that is 0, the reason."""
    child = Child(spec, run_dir, config.supervisor.heartbeat_ms / 1000)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_stray)
    loop.add_signal_handler(signal.SIGTERM, child.announce_draining)
    loop.add_signal_handler(RELIEF_SIGNAL, child.announce_relief)
    heartbeat = loop.create_task(child.beat(parent_pid))
    heartbeat.add_done_callback(_must_not_end)
    try:
        await spec.serve(child, config, *spec.args)
    except Exception as error:
        return _ending(child, error)
    if child.stopping.is_set() == spec.once:
        # A one-shot process that was stopped may not be taken for one that did its thing.
        reason = "was stopped before it was done" if spec.once else "returned without having been told to stop"
        child.log.error("ended_early", reason=reason)
        return ExitCode.FAILURE, reason
    return ExitCode.OK, ""


def _ending(child: Child, error: Exception) -> tuple[ExitCode, str]:
    expected = weightiest(error)
    if expected is None:
        child.log.error("crashed", exc_info=error)
        return ExitCode.FAILURE, f"{type(error).__name__}: {error}"
    child.log.error("failed", reason=str(expected), exit_code=int(expected.exit_code))
    return expected.exit_code, str(expected)


def weightiest(error: BaseException) -> HseieError | None:
    """Return the error of ours that decides the exit code, out of a group too; None where a bug is among them."""
    ours: list[HseieError] = []
    todo = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseExceptionGroup):
            todo.extend(one.exceptions)
        elif isinstance(one, HseieError):
            ours.append(one)
    for code in _WEIGHTIEST:
        for one in ours:
            if one.exit_code == code:
                return one
    only_ours = not isinstance(error, BaseExceptionGroup) or error.split(HseieError)[1] is None
    return ours[0] if ours and only_ours else None


def _log_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log = structlog.get_logger("hseie")
    log.error("stray_exception", message=context.get("message"), exc_info=context.get("exception"))


def _must_not_end(heartbeat: asyncio.Task[None]) -> None:
    # Without a heartbeat the process would be taken for stuck and killed later, without a word of why.
    if not heartbeat.cancelled() and heartbeat.exception() is not None:
        structlog.get_logger("hseie").error("heartbeat_failed", exc_info=heartbeat.exception())
        os._exit(ExitCode.FAILURE)


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was told
        os._exit(ExitCode.FAILURE)


def _allow_files() -> None:
    # Shells start programs with a soft limit of 1,024 open files, for the sake of old ones that use select(). An
    # acceptor has one for each connection.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _rss_bytes() -> int:
    try:
        with Path("/proc/self/statm").open("rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0  # no more files to be had: no reason to end, as an error in the heartbeat would


def _open_files() -> int:
    # Kernels from 6.2 on tell the number as the folder's size; older ones have it counted.
    try:
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))  # noqa: PTH116, PTH208
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # no more to be had: all of them
