"""Replaces the processes of a running node one by one: in which order, and how one makes way for its successor.

What takes connections starts its successor first, on the same listening sockets, so that nobody is refused. What owns
something alone (a journal) ends before its successor starts; whoever needs it meanwhile is told to come again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from hseie.errors import HseieError
from hseie.process import ProcessSpec
from hseie.supervisor.member import Member
from hseie.supervisor.supervisor import KILLED_GONE_S, Plan, Supervisor, former_name

# So many ends in a row tell that a successor will not come up; what comes later is the business of its restarts.
STARTS_MAX = 3


class ReloadError(HseieError):
    """A process did not make way, or its successor does not come up. Correct the configuration and reload again."""


@dataclass(frozen=True)
class Step:
    """One thing to do with some processes at once; the next step comes when all of them are ready or gone.

    `replace`: the former one ends, then its successor starts. `relay`: the successor starts, then the former one ends.
    """

    verb: Literal["start", "stop", "replace", "relay"]
    names: tuple[str, ...]

    def __str__(self) -> str:
        doing = {"start": "starting", "stop": "stopping", "replace": "replacing", "relay": "replacing"}[self.verb]
        return f"{doing} {', '.join(self.names)}"


def steps(running: Mapping[str, ProcessSpec], plan: Plan) -> list[Step]:
    """Return how the running processes become those of the plan, in the order of its stages.

    One-shot steps are for processes that belong together and of which there shall be another number: all of those end
    before, and start after them. Roles that the plan does not know are left alone, but for one-shot steps that a former
    reload could not end: two of a kind would work on the same.
    """
    left = tuple(name for name, spec in running.items() if spec.once)
    found = [Step("stop", left)] if left else []
    once: list[Step] = []
    for stage in plan.stages:
        if all(spec.once for spec in stage):
            once.append(Step("start", tuple(spec.name for spec in stage)))
            continue
        for role in dict.fromkeys(spec.role for spec in stage):
            specs = [spec for spec in stage if spec.role == role]
            found += _steps_of_role(running, specs, once)
    return found


def _steps_of_role(running: Mapping[str, ProcessSpec], specs: Sequence[ProcessSpec], once: list[Step]) -> list[Step]:
    wanted = [spec.name for spec in specs]
    present = [name for name, spec in running.items() if spec.role == specs[0].role]
    if specs[0].jointly and set(present) != set(wanted):
        stop = [Step("stop", tuple(present))] if present else []
        return [*stop, *once, Step("start", tuple(wanted))]
    kept = [Step("relay" if spec.beside else "replace", (spec.name,)) for spec in specs if spec.name in present]
    more = tuple(name for name in wanted if name not in present)
    fewer = tuple(name for name in present if name not in wanted)
    return [*kept, *([Step("start", more)] if more else []), *([Step("stop", fewer)] if fewer else [])]


class Rolling:
    """Takes the steps from a node's processes to those of a plan."""

    def __init__(self, supervisor: Supervisor, plan: Plan, on_step: Callable[[str], None]) -> None:
        """`on_step` is told what is being done, for whoever looks."""
        self._supervisor = supervisor
        self._plan = plan
        self._specs = {spec.name: spec for stage in plan.stages for spec in stage}
        self._on_step = on_step
        self._log = structlog.get_logger("hseie")

    async def run(self) -> list[str]:
        """Take all steps; return the names of the processes that were started. Raises ReloadError and stops there."""
        started: list[str] = []
        running = {name: member.spec for name, member in self._supervisor.members.items()}
        for step in steps(running, self._plan):
            self._on_step(str(step))
            self._log.info("reload_step", doing=str(step))
            await self._take(step)
            if step.verb != "stop":
                started += [name for name in step.names if not self._specs[name].once]
        return started

    def missing(self) -> list[str]:
        """Return the processes of the plan that nobody starts, after `run` stopped before them."""
        return [name for name, spec in self._specs.items() if not (spec.once or name in self._supervisor.members)]

    async def _take(self, step: Step) -> None:
        members = self._supervisor.members
        if step.verb == "relay":
            for name in step.names:
                await self._relay(name)
            return
        if step.verb != "start":
            await self._retire({name: members[name] for name in step.names})
        if step.verb != "stop":
            await self._start(step.names)

    async def _start(self, names: Sequence[str]) -> None:
        started = [self._supervisor.launch(self._specs[name], on_trial=True) for name in names]
        await self._supervisor.changes.until(
            lambda: all(one.settled for one in started) or any(map(_has_failed, started))
        )
        failed = [one for one in started if not one.settled and _has_failed(one)]
        if not failed:
            return
        name, reason = failed[0].spec.name, _how_it_ended(failed[0])
        if failed[0].spec.once:
            # It would work on what the processes of the next reload own.
            await self._retire({one.spec.name: one for one in started if not one.done})
            raise ReloadError(
                f"{name} does not come to its end with the new configuration ({reason}); it is not tried again. "
                "Correct what it names and reload once more, or restore the former configuration and reload"
            )
        raise ReloadError(
            f"{name} does not start with the new configuration ({reason}); it is tried again and again. "
            "Correct the configuration and reload once more"
        )

    async def _relay(self, name: str) -> None:
        members = self._supervisor.members
        former = members.pop(name)
        members[former_name(name)] = former
        successor = self._supervisor.launch(self._specs[name], on_trial=True)
        await self._supervisor.changes.until(lambda: successor.settled or successor.failures > 0)
        if not successor.settled:
            reason = _how_it_ended(successor)
            await self._retire({name: successor})
            members[name] = members.pop(former_name(name))
            raise ReloadError(
                f"{name} does not start with the new configuration ({reason}); its predecessor goes on. "
                "Correct the configuration and reload once more"
            )
        await self._retire({former_name(name): former})

    async def _retire(self, leaving: Mapping[str, Member]) -> None:
        """Let processes end for good, by force if they take longer than a drain may."""
        changes = self._supervisor.changes
        for one in leaving.values():
            one.relieve()
        changes.ring()  # one of them may wait for its next start

        def all_gone() -> bool:
            return not any(one.running for one in leaving.values())

        if not await changes.until(all_gone, self._supervisor.config.node.drain_timeout_s):
            for name, one in leaving.items():
                if one.running:
                    self._log.warning("process_killed", name=name, because="did not make way in time")
                    one.kill("did not make way in time")
            if not await changes.until(all_gone, KILLED_GONE_S):
                raise ReloadError(f"{', '.join(leaving)}: the kernel does not end it; look at the disk and the log")
        for name, one in leaving.items():
            if one.last_exit is not None and one.last_exit.code != 0:
                self._log.warning("process_left", name=name, ended=one.last_exit.text)
            del self._supervisor.members[name]


def _has_failed(member: Member) -> bool:
    return member.failures >= STARTS_MAX


def _how_it_ended(member: Member) -> str:
    return member.last_exit.text if member.last_exit is not None else "no reason is known"
