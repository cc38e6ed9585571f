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
from hseie.supervisor.member import Member

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# After SIGKILL only the kernel is between a process and its end.
_KILLED_GONE_S = 5.0


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
        self._config = config
        self._settings = config.supervisor
        self._run_dir = run_dir
        self._prepare = prepare
        self._on_ready = on_ready
        self._more_rows = more_rows
        self._log = structlog.get_logger("hseie")
        self._state: Literal["starting", "ready", "draining"] = "starting"
        self._was_ready = False
        self._started_at = time.time()
        self._members: dict[str, Member] = {}
        self._stop_order: Sequence[str] = ()
        self._ending = Ending(ExitCode.OK)
        self._stop = asyncio.Event()
        self._hurry = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._router: Router | None = None

    async def run(self) -> Ending:
        """Run until a signal or a failure ends the node; returns after the drain."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)  # until the loop closes: a second one is harmless
        # Whoever starts us may have held them back until now; children would inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        self._router = Router(
            ipc_endpoint(self._run_dir, control.CONTROL), self._on_message, message_bytes_max=control.MESSAGE_BYTES_MAX
        )
        try:
            watching = self._go(self._watch())
            starting = self._go(self._start())
            await self._stop.wait()
            starting.cancel()
            await self._drain()
            watching.cancel()
        finally:
            for member in self._members.values():
                member.kill("the node has ended")
            self._router.close()
        return self._ending

    def stop(self, exit_code: ExitCode = ExitCode.OK, reason: str = "") -> None:
        """Begin the drain; the first call decides how the node ends."""
        if not self._stop.is_set():
            self._ending = Ending(exit_code, reason)
            self._state = "draining"
            self._stop.set()
            self._wake()

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
            "processes": [member.row(now) for member in self._members.values()] + self._more_rows(),
        }

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
            members = [Member(spec, self._config, self._run_dir) for spec in stage]
            for member in members:
                self._members[member.spec.name] = member
                self._go(self._keep(member))
            await self._until_settled(members)
        await self._until_settled(list(self._members.values()))
        self._state = "ready"
        self._was_ready = True
        self._log.info("node_ready", processes=len(self._members), took_s=round(time.monotonic() - began, 3))
        with contextlib.suppress(OSError):  # nobody reads our output: no reason to stop
            self._on_ready()

    async def _keep(self, member: Member) -> None:
        """Live the lives of one process, until it is done or the node stops."""
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                member.spawn(started)
            except OSError as error:
                code = member.not_started(f"cannot start a process: {error.strerror}")
            else:
                self._log.info("process_started", name=member.spec.name, pid=member.pid)
                code = await member.ended()
            self._wake()
            if not self._stop.is_set() and not await self._goes_on(member, code, time.monotonic() - started):
                return

    async def _goes_on(self, member: Member, code: int, uptime_s: float) -> bool:
        """Draw the consequence of an end; True when the process is to be started again, now."""
        member.failures = policy.count_failure(member.failures, uptime_s, self._settings)
        judgement = policy.judge(code, once=member.spec.once, node_was_ready=self._was_ready, failures=member.failures)
        text = member.last_exit.text if member.last_exit else ""
        if judgement.verdict is policy.Verdict.DONE:
            member.done = True
            del self._members[member.spec.name]  # nothing to watch, stop or show any more
            self._wake()
            return False
        if judgement.verdict is policy.Verdict.STOP_NODE:
            member.state = "given_up"
            self._log.error("process_given_up", name=member.spec.name, ended=text, failures=member.failures)
            self.stop(judgement.node_exit, f"{member.spec.name}: {text}")
            return False
        delay_s = policy.restart_delay_s(member.failures, self._settings)
        self._log.warning("process_ended", name=member.spec.name, ended=text, restart_in_s=delay_s)
        await self._until(self._stop.is_set, delay_s)
        return not self._stop.is_set()

    # --- watching -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        look_every_s = self._settings.heartbeat_ms / 1000
        last_look = time.monotonic()
        while True:
            await asyncio.sleep(look_every_s)
            now = time.monotonic()
            own_delay_s = policy.own_delay_s(now, last_look, look_every_s)
            last_look = now
            for member in self._members.values():
                member.forgive(own_delay_s)
                if (
                    member.running
                    and not member.killed_because
                    and policy.is_stuck(now, member.started, member.last_beat, self._settings)
                ):
                    silent_s = round(now - (member.last_beat or member.started), 1)
                    self._log.error("process_stuck", name=member.spec.name, pid=member.pid, silent_s=silent_s)
                    member.kill(f"stuck, no heartbeat for {silent_s} s")

    def _on_message(self, peer: bytes, body: bytes) -> None:
        message = control.decode(body)
        if isinstance(message, control.StatusRequest):
            if self._router is not None:
                self._router.send(peer, control.encode({**self.snapshot(), "id": message.id}))
            return
        member = self._members.get(message.name)
        if member is not None and member.heard(message, time.monotonic()):
            if message.state == "ready":
                self._log.info("process_ready", name=message.name)
            self._wake()

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if not self._stop.is_set():
            self._log.info("node_draining", signal=name, timeout_s=self._config.node.drain_timeout_s)
            self.stop()
        elif number == signal.SIGINT:
            # Somebody sits at the terminal and has asked twice.
            self._hurry = True
            self._wake()

    # --- stopping -------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        deadline = time.monotonic() + self._config.node.drain_timeout_s
        groups = self._stop_groups()
        for index, group in enumerate(groups):
            for member in group:
                member.terminate()
            share_s = policy.drain_share_s(deadline - time.monotonic(), len(groups) - index)
            await self._until_gone(group, share_s)
        # Who overran his share was not disturbed while the others stopped.
        await self._until_gone(self._members.values(), deadline - time.monotonic())
        late = [member for member in self._members.values() if member.running]
        for member in late:
            self._log.warning("process_killed", name=member.spec.name, because="not stopped in time")
            member.kill("not stopped in time")
        self._hurry = False
        await self._until_gone(late, _KILLED_GONE_S)
        self._log.info("node_stopped", exit_code=int(self._ending.exit_code), reason=self._ending.reason)

    def _stop_groups(self) -> list[list[Member]]:
        members = list(self._members.values())
        groups = [[member for member in members if member.spec.role not in self._stop_order]]
        groups += [[member for member in members if member.spec.role == role] for role in self._stop_order]
        return [group for group in groups if group]

    async def _until_settled(self, members: Sequence[Member]) -> None:
        await self._until(lambda: all(member.settled for member in members))

    async def _until_gone(self, members: Iterable[Member], timeout_s: float) -> None:
        group = list(members)
        await self._until(lambda: self._hurry or not any(member.running for member in group), timeout_s)

    # --- waiting --------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._changed.set()

    async def _until(self, holds: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Wait until `holds()`, looking after each wake-up; at most `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

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
