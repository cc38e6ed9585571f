"""Starts the processes of a plan in order, keeps them running, and stops them in order.

It knows specifications, not what the processes do. Each process has a coroutine that lives its lives (`_keep`); what is
decided about them stands in `policy.py`. Signal handlers and heartbeats only note what happened and wake who waits.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from hseie import __version__, control
from hseie.bus import Router, ipc_endpoint
from hseie.config import Config
from hseie.errors import ExitCode, HseieError
from hseie.process import ProcessSpec
from hseie.supervisor import policy
from hseie.supervisor.changes import Changes
from hseie.supervisor.member import Member, in_stop_order
from hseie.supervisor.watch import watch

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
SIGNALS = (*STOP_SIGNALS, signal.SIGHUP)

# After SIGKILL only the kernel is between a process and its end.
KILLED_GONE_S = 5.0

Reply = Callable[[dict[str, Any]], None]


def former_name(name: str) -> str:
    """Return what a process is called that is still there beside its successor."""
    return f"{name}-former"


@dataclass(frozen=True)
class Plan:
    """Which processes, in which order: a stage starts once all of the stage before are ready or done."""

    stages: Sequence[Sequence[ProcessSpec]]
    stop_order: Sequence[str]  # roles; those not named stop first


@dataclass(frozen=True)
class Ending:
    """How the node ended: exit code, and the reason unless it was told to."""

    exit_code: ExitCode
    reason: str = ""


class Supervisor:
    """One node's processes, from the first start to the last end: `await Supervisor(...).run()` in the main thread."""

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        prepare: Callable[[], Awaitable[Plan]],
        on_ready: Callable[[], None] = lambda: None,
        more_rows: Callable[[], list[dict[str, Any]]] = list,
    ) -> None:
        """`prepare` gives the plan, and may take its time; `on_ready` is called once, when all processes are ready.

        `more_rows` adds to the snapshot what runs outside of the plan.
        """
        self.about: dict[str, Any] = {}  # what else the snapshot says of the node
        self.config = config  # of the processes that are started from now on
        self.generation = 1
        self.members: dict[str, Member] = {}
        self.changes = Changes()
        self.on_stop: Callable[[], None] = lambda: None  # called when the drain begins
        self.on_reload: Callable[[Reply | None], None] = lambda reply: None  # by a request, or SIGHUP (no reply)
        self._run_dir = run_dir
        self._prepare = prepare
        self._on_ready = on_ready
        self._more_rows = more_rows
        self._log = structlog.get_logger("hseie")
        self._state: Literal["starting", "ready", "draining"] = "starting"
        self._was_ready = False
        self._started_at = time.time()
        self._stop_order: Sequence[str] = ()
        self._ending = Ending(ExitCode.OK)
        self._stop = asyncio.Event()
        self._hurry = False
        self._order: asyncio.Task[None] | None = None  # what starts or replaces processes
        self._tasks: set[asyncio.Task[None]] = set()
        self._router: Router | None = None

    async def run(self) -> Ending:
        """Run until a signal or a failure ends the node; returns after the drain."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)  # until the loop closes: a second one is harmless
        # Whoever starts us may have held them back until now; children would inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._router = Router(
            ipc_endpoint(self._run_dir, control.CONTROL), self._on_message, message_bytes_max=control.MESSAGE_BYTES_MAX
        )
        try:
            watching = self._go(watch(self.members, lambda: self.config, self._log))
            self.order(self._start())
            await self._stop.wait()
            if self._order is not None:
                self._order.cancel()
            self.on_stop()
            await self._drain()
            watching.cancel()
        finally:
            for member in self.members.values():
                member.kill("the node has ended")
            self._router.close()
        return self._ending

    def stop(self, exit_code: ExitCode = ExitCode.OK, reason: str = "") -> None:
        """Begin the drain; the first call decides how the node ends."""
        if not self._stop.is_set():
            self._ending = Ending(exit_code, reason)
            self._state = "draining"
            self._stop.set()
            self.changes.ring()

    def snapshot(self) -> control.Snapshot:
        """Return the state of the node and of each process, as `hseie status` and /readyz see it."""
        now = time.monotonic()
        return {
            "node": {
                "state": self._state,
                "version": __version__,
                "pid": os.getpid(),
                "started_at": self._started_at,
                "messages_refused": self._router.refused if self._router is not None else 0,
                **self.about,
            },
            "processes": [member.row(name, now) for name, member in self.members.items()] + self._more_rows(),
        }

    @property
    def state(self) -> str:
        return self._state

    def order(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what starts or replaces processes, one such work at a time; cancelled when the node stops."""
        self._order = self._go(work)

    def launch(self, spec: ProcessSpec, *, on_trial: bool = False) -> Member:
        """Begin the lives of a process, in the configuration of now."""
        member = self.members[spec.name] = Member(spec, self.config, self._run_dir, self.generation)
        member.on_trial = on_trial
        self._go(self._keep(member))
        return member

    # --- starting -------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        began = time.monotonic()
        try:
            plan = await self._prepare()
        except HseieError as error:
            self.stop(error.exit_code, str(error))
            return
        self._stop_order = plan.stop_order
        for stage in plan.stages:
            await self.until_settled([self.launch(spec) for spec in stage])
        await self.until_settled(list(self.members.values()))
        self._state = "ready"
        self._was_ready = True
        self._log.info("node_ready", processes=len(self.members), took_s=round(time.monotonic() - began, 3))
        with contextlib.suppress(OSError):  # nobody reads our output: no reason to stop
            self._on_ready()

    async def _keep(self, member: Member) -> None:
        """Live the lives of one process, until it is done, is relieved or the node stops."""
        while not (self._stop.is_set() or member.leaving):
            started = time.monotonic()
            try:
                member.spawn(started)
            except OSError as error:
                code = member.not_started(f"cannot start a process: {error.strerror}")
            else:
                self._log.info("process_started", name=member.spec.name, pid=member.pid)
                code = await member.ended()
            self.changes.ring()
            if self._stop.is_set() or member.leaving:
                return
            if not await self._goes_on(member, code, time.monotonic() - started):
                return

    async def _goes_on(self, member: Member, code: int, uptime_s: float) -> bool:
        """Draw the consequence of an end; True when the process is to be started again, now."""
        settings = member.config.supervisor
        member.failures = policy.count_failure(member.failures, uptime_s, settings)
        judgement = policy.judge(
            code,
            once=member.spec.once,
            node_was_ready=self._was_ready,
            failures=member.failures,
            on_trial=member.on_trial,
        )
        text = member.last_exit.text if member.last_exit else ""
        if judgement.verdict is policy.Verdict.DONE:
            member.done = True
            if self.members.get(member.spec.name) is member:
                del self.members[member.spec.name]  # nothing to watch, stop or show any more
            self.changes.ring()
            return False
        if judgement.verdict is policy.Verdict.STOP_NODE:
            member.state = "given_up"
            self._log.error("process_given_up", name=member.spec.name, ended=text, failures=member.failures)
            self.stop(judgement.node_exit, f"{member.spec.name}: {text}")
            return False
        delay_s = policy.restart_delay_s(member.failures, settings)
        self.changes.ring()
        self._log.warning("process_ended", name=member.spec.name, ended=text, restart_in_s=delay_s)
        return not await self.changes.until(lambda: self._stop.is_set() or member.leaving, delay_s)

    # --- listening ------------------------------------------------------------------------------------------------

    def _on_message(self, peer: bytes, body: bytes) -> None:
        message = control.decode(body)
        if isinstance(message, control.StatusRequest):
            self._answer(peer, {**self.snapshot(), "id": message.id})
            return
        if isinstance(message, control.ReloadRequest):
            self.on_reload(lambda answer: self._answer(peer, {**answer, "id": message.id}))
            return
        for name in (message.name, former_name(message.name)):
            member = self.members.get(name)
            if member is not None and member.heard(message, time.monotonic()):
                if message.state == "ready":
                    self._log.info("process_ready", name=message.name)
                self.changes.ring()

    def _answer(self, peer: bytes, answer: dict[str, Any]) -> None:
        if self._router is not None:
            self._router.send(peer, control.encode(answer))

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            self.on_reload(None)
        elif not self._stop.is_set():
            self._log.info("node_draining", signal=name, timeout_s=self.config.node.drain_timeout_s)
            self.stop()
        elif number == signal.SIGINT:
            # Somebody sits at the terminal and has asked twice.
            self._hurry = True
            self.changes.ring()

    # --- stopping -------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        deadline = time.monotonic() + self.config.node.drain_timeout_s
        groups = in_stop_order(self.members.values(), self._stop_order)
        for index, group in enumerate(groups):
            for member in group:
                member.terminate()
            share_s = policy.drain_share_s(deadline - time.monotonic(), len(groups) - index)
            await self._until_gone(group, share_s)
        # Who overran his share was not disturbed while the others stopped.
        await self._until_gone(self.members.values(), deadline - time.monotonic())
        late = [member for member in self.members.values() if member.running]
        for member in late:
            self._log.warning("process_killed", name=member.spec.name, because="not stopped in time")
            member.kill("not stopped in time")
        self._hurry = False
        await self._until_gone(late, KILLED_GONE_S)
        self._log.info("node_stopped", exit_code=int(self._ending.exit_code), reason=self._ending.reason)

    async def until_settled(self, members: Sequence[Member]) -> None:
        """Wait until those that come after may start."""
        await self.changes.until(lambda: all(member.settled for member in members))

    async def _until_gone(self, members: Iterable[Member], timeout_s: float) -> None:
        group = list(members)
        await self.changes.until(lambda: self._hurry or not any(member.running for member in group), timeout_s)

    def _go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)
        return task

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("supervisor_crashed", exc_info=error)
            self.stop(ExitCode.FAILURE, f"a bug in the supervisor: {type(error).__name__}: {error}")
