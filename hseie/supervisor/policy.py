"""What to do about the end of a process, as plain functions. Times are seconds, passed in."""

import enum
import signal
from dataclasses import dataclass

from hseie.config import Supervisor as Settings
from hseie.errors import ExitCode

# A node that was never ready is given up after so many ends of one process in a row: whoever started it is waiting,
# and waits for a reason rather than for a node.
STARTS_MAX = 5

# Ends after which a restart cannot help, or does harm.
_FATAL = (ExitCode.CONFIG, ExitCode.FENCED)


class Verdict(enum.Enum):
    """What follows from the end of a process."""

    DONE = "done"  # a one-shot process did its thing
    RESTART = "restart"
    STOP_NODE = "stop_node"


@dataclass(frozen=True)
class Judgement:
    """A verdict, and with STOP_NODE the node's exit code."""

    verdict: Verdict
    node_exit: ExitCode = ExitCode.OK


def judge(exit_code: int, *, once: bool, node_was_ready: bool, failures: int, on_trial: bool = False) -> Judgement:
    """Decide about a process that ended by itself. `exit_code` is negative for a signal.

    `failures` counts ends in a row, this one included; a long enough life starts the count again (see `count_failure`).
    `on_trial`: it was never ready in a configuration that came by a reload, which can be put right by another one.
    """
    if once and exit_code == ExitCode.OK:
        return Judgement(Verdict.DONE)
    if exit_code in _FATAL and not (on_trial and exit_code == ExitCode.CONFIG):
        return Judgement(Verdict.STOP_NODE, ExitCode(exit_code))
    if not node_was_ready and failures >= STARTS_MAX:
        return Judgement(Verdict.STOP_NODE, ExitCode.UNAVAILABLE)
    return Judgement(Verdict.RESTART)


def count_failure(failures: int, uptime_s: float, settings: Settings) -> int:
    """Return the ends in a row, after one more that came `uptime_s` after its start."""
    return 1 if uptime_s * 1000 >= settings.restart_reset_ms else failures + 1


def restart_delay_s(failures: int, settings: Settings) -> float:
    """Return how long to wait before the next start: doubled from the first failure on, up to the maximum."""
    doublings = min(max(failures - 1, 0), 32)
    return min(settings.restart_delay_ms * 2.0**doublings, settings.restart_delay_max_ms) / 1000


def is_stuck(now: float, started: float, last_beat: float | None, settings: Settings) -> bool:
    """Tell whether a process has been silent too long. Before its first heartbeat it gets twice the time."""
    limit_s = settings.heartbeat_timeout_ms / 1000
    return now - last_beat > limit_s if last_beat is not None else now - started > 2 * limit_s


def own_delay_s(now: float, last_look: float, look_every_s: float) -> float:
    """Return how late this look at the heartbeats comes.

    When the supervisor itself was stopped or starved, the heartbeats of that time are still unread: it must count
    its own absence to nobody's charge.
    """
    late = now - last_look - look_every_s
    return late if late > look_every_s else 0.0


def drain_share_s(remaining_s: float, groups_left: int) -> float:
    """Return how long to wait for one group before the next is told to stop too; unused time goes to the later ones."""
    return max(remaining_s, 0.0) / max(groups_left, 1)


def describe_exit(exit_code: int, reason: str) -> str:
    """Return the end of a process in words."""
    if exit_code < 0:
        try:
            how = f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            how = f"killed by signal {-exit_code}"
    else:
        how = f"exit {exit_code}"
    return f"{how}: {reason}" if reason else how
