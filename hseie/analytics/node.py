"""What the supervisor knows of the node's processes, as analytics needs it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from hseie.errors import NotReachableError

# Many requests share one question; a heartbeat comes every half second anyway.
KEEP_S = 0.25


@dataclass(frozen=True)
class Process:
    """One process: its name, role, state as the supervisor sees it, and the figures of its last heartbeat."""

    name: str
    role: str
    state: str
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.state == "ready"


@dataclass(frozen=True)
class Snapshot:
    """All processes at one moment; `answer` is all that the supervisor said."""

    state: str
    processes: tuple[Process, ...]
    answer: dict[str, Any]

    def role(self, name: str) -> list[Process]:
        return [process for process in self.processes if process.role == name]

    @property
    def writers(self) -> dict[int, Process]:
        """The writers whose figures are known, by shard."""
        return {process.stats["shard"]: process for process in self.role("writer") if "shard" in process.stats}


def read_snapshot(answer: dict[str, Any]) -> Snapshot:
    """Return the supervisor's answer as a Snapshot."""
    return Snapshot(
        answer["node"]["state"],
        tuple(
            Process(process["name"], process["role"], process["state"], process.get("stats") or {})
            for process in answer["processes"]
        ),
        answer,
    )


class NodeView:
    """Asks the supervisor, at most once in KEEP_S."""

    def __init__(self, ask: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._ask = ask
        self._kept: Snapshot | None = None
        self._kept_until = 0.0

    async def snapshot(self) -> Snapshot:
        """Return the node as it is. Raises NotReachableError when the supervisor does not answer."""
        if self._kept is None or time.monotonic() >= self._kept_until:
            try:
                self._kept = read_snapshot(await self._ask())
            except TimeoutError:
                raise NotReachableError("the supervisor does not answer") from None
            self._kept_until = time.monotonic() + KEEP_S
        return self._kept
