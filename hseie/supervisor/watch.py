"""Looks at the heartbeats: a process that has been silent for too long is killed, and so started again."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from hseie.config import Config
from hseie.supervisor import policy
from hseie.supervisor.member import Member


async def watch(members: Mapping[str, Member], config: Callable[[], Config], log: Any) -> None:
    """Look at `members` for ever, every so often as the configuration says at the time."""
    last_look = time.monotonic()
    while True:
        look_every_s = config().supervisor.heartbeat_ms / 1000
        await asyncio.sleep(look_every_s)
        now = time.monotonic()
        own_delay_s = policy.own_delay_s(now, last_look, look_every_s)
        last_look = now
        for name, member in members.items():
            member.forgive(own_delay_s)
            # Each by what it was told itself: during a reload they are not all told the same.
            if (
                member.running
                and not member.killed_because
                and policy.is_stuck(now, member.started, member.last_beat, member.config.supervisor)
            ):
                silent_s = round(now - (member.last_beat or member.started), 1)
                log.error("process_stuck", name=name, pid=member.pid, silent_s=silent_s)
                member.kill(f"stuck, no heartbeat for {silent_s} s")
