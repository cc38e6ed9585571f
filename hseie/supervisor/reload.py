"""Reload: the same configuration file read again, and the processes of the running node replaced to obey it.

One at a time. A configuration that is wrong, or that changes what a running node cannot change, is refused before
anything is touched. So is another number of shards while PostgreSQL is away: the former journals have to be drained
first, and until that is done nothing is acknowledged. How the last reload ended stands in the snapshot, for those who
ask by SIGHUP.
"""

import asyncio
import time
from collections.abc import Callable, Container, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from hseie import logs
from hseie.config import Config
from hseie.config_change import changed_keys, fingerprint, fixed_keys
from hseie.control import ReloadOutcome
from hseie.errors import ConfigError, ExitCode, HseieError
from hseie.supervisor.member import Member
from hseie.supervisor.rolling import Rolling
from hseie.supervisor.supervisor import Plan, Reply, Supervisor

Check = Callable[[Config, Container[str]], Coroutine[Any, Any, list[str]]]


@dataclass(frozen=True)
class Answer:
    """How a reload ended. `changed` are the keys whose values did; `exit_code` is for the command line; `warnings` name
    what may come right by itself.
    """

    outcome: ReloadOutcome
    exit_code: ExitCode = ExitCode.OK
    reason: str = ""
    changed: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Reloads:
    """Answers the requests to reload a node. `about` of the supervisor tells how far one is."""

    def __init__(
        self,
        supervisor: Supervisor,
        read_again: Callable[[], Config] | None,
        plan: Callable[[Config], Plan],
        check: Check | None = None,
    ) -> None:
        """`read_again` gives the configuration anew; `plan` what processes it asks for; `check` looks at what it names
        and returns warnings. All raise ConfigError.
        """
        self._check = check
        self._supervisor = supervisor
        self._read_again = read_again
        self._plan = plan
        self._running = False
        self._log = structlog.get_logger("hseie")
        supervisor.about |= {"reloading": "", "last_reload": None, "missing": []}
        self._show_configuration()

    def ask(self, reply: Reply) -> None:
        """Reload, unless it is not the time; `reply` is called with the answer, when that is known."""
        if refusal := self._refusal():
            self._end(Answer("refused", ExitCode.TEMPORARY, refusal), reply)
        else:
            self._running = True
            self._supervisor.order(self._reload(reply))

    def _refusal(self) -> str:
        if self._running:
            return "a reload is under way; `hseie status` tells how far it is"
        if self._supervisor.state != "ready":
            return f"the node is {self._supervisor.state}; reload it when it is ready"
        if self._read_again is None:
            return "this node was not started from a configuration that could be read again; restart it"
        return ""

    async def _reload(self, reply: Reply) -> None:
        answer = Answer("failed", ExitCode.FAILURE, "a bug; the log has it")
        try:
            answer = await self._answer()
        except asyncio.CancelledError:
            answer = Answer("failed", ExitCode.TEMPORARY, "the node stops")
            raise
        except Exception:
            self._log.exception("reload_crashed")  # the processes that run are none the worse for it
        finally:
            self._running = False
            self._supervisor.about["reloading"] = ""
            self._end(answer, reply)

    async def _answer(self) -> Answer:
        former = self._supervisor.config
        try:
            config = self._read_again() if self._read_again is not None else former
        except ConfigError as error:
            return Answer("refused", ExitCode.CONFIG, str(error))
        changed = changed_keys(former, config)
        if fixed := fixed_keys(changed):
            return Answer(
                "refused", ExitCode.CONFIG, f"{_differences(fixed, changed)}: restart the node to change that"
            )
        if "writer.shards" in changed and (refusal := _cannot_drain(self._supervisor.members)):
            return Answer("refused", ExitCode.TEMPORARY, refusal, list(changed))
        try:
            plan = self._plan(config)
            warnings = await self._check(config, changed) if self._check is not None else []
        except ConfigError as error:
            return Answer("refused", ExitCode.CONFIG, str(error), list(changed))
        try:
            self._adopt(config)
            self._log.info("reloading", changed=list(changed), generation=self._supervisor.generation)
            replaced = await self._replace(plan)
        except HseieError as error:
            return Answer("failed", ExitCode.FAILURE, str(error), list(changed), warnings=warnings)
        return Answer("done", ExitCode.OK, "", list(changed), replaced, warnings)

    async def _replace(self, plan: Plan) -> list[str]:
        rolling = Rolling(self._supervisor, plan, self._on_step)
        try:
            return await rolling.run()
        finally:
            self._supervisor.about["missing"] = rolling.missing()

    def _adopt(self, config: Config) -> None:
        logs.configure(config.log.level, config.log.format, "supervisor")
        self._supervisor.config = config
        self._supervisor.generation += 1
        self._show_configuration()

    def _show_configuration(self) -> None:
        about = self._supervisor.about
        about["generation"] = self._supervisor.generation
        about["config"] = fingerprint(self._supervisor.config)

    def _on_step(self, doing: str) -> None:
        self._supervisor.about["reloading"] = doing

    def _end(self, answer: Answer, reply: Reply) -> None:
        document: dict[str, Any] = {**asdict(answer), "exit_code": int(answer.exit_code)}
        told = {name: value for name, value in document.items() if value not in ("", [])}
        (self._log.info if answer.outcome == "done" else self._log.error)("reload_ended", **told)
        self._supervisor.about["last_reload"] = {"at": time.time(), **document}
        reply(document)


def _cannot_drain(members: Mapping[str, Member]) -> str:
    """Return why the journals could not be drained, as far as the last heartbeats of the writers tell."""
    states = {name: member.beat.stats.get("database", "ok") for name, member in members.items() if member.beat}
    states = {name: state for name, state in states.items() if state != "ok"}
    if not states:
        return ""
    what = "is away" if "away" in states.values() else "does not take readings"
    said = ", ".join(f"{name}: {state}" for name, state in states.items())
    return (
        f"PostgreSQL {what} ({said}); the journals of the former number of shards could not be drained, and nothing "
        "would be acknowledged meanwhile. Reload when it is back"
    )


def _differences(names: list[str], changed: dict[str, tuple[Any, Any]]) -> str:
    # The database's address holds a password.
    texts = [
        name if name == "postgres.url" else f"{name} ({changed[name][0]!r} -> {changed[name][1]!r})" for name in names
    ]
    return f"{', '.join(texts)} cannot change while a node runs"
