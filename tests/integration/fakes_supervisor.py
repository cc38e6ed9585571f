"""Small roles for the tests of the supervisor, and a script that runs a node of them.

Children are spawned, so the roles are functions of a module they can import: the folder of this file is in PYTHONPATH.
Each writes what happens to it into one file, a line an event: `<name> <event>`.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from hseie import control, logs
from hseie.config import Config
from hseie.config_load import load
from hseie.errors import ConfigError, FencedError, HseieError
from hseie.process import Child, ProcessSpec
from hseie.supervisor.lock import InstanceLock
from hseie.supervisor.reload import Reloads
from hseie.supervisor.supervisor import Plan, Supervisor


def note(events: str, name: str, event: str) -> None:
    with Path(events).open("a") as file:
        file.write(f"{name} {event}\n")


async def steady(child: Child, config: Any, events: str, stop_s: float = 0.0) -> None:
    """Serves until told to stop, and takes `stop_s` seconds for that."""
    note(events, child.name, "start")
    child.report = lambda: {"answer": 42}
    await asyncio.sleep(0.05)
    note(events, child.name, "ready")
    child.ready()
    await child.stopping.wait()
    note(events, child.name, "stopping")
    await asyncio.sleep(stop_s)
    note(events, child.name, "stopped")


async def stubborn(child: Child, config: Any, events: str) -> None:
    """Does not stop."""
    note(events, child.name, "start")
    child.ready()
    while True:
        await asyncio.sleep(60)


async def stuck(child: Child, config: Any, events: str) -> None:
    """Blocks its loop in its first life, once it was ready; serves in the later ones."""
    note(events, child.name, "start")
    child.ready()
    if Path(events).read_text().count(f"{child.name} start") == 1:
        await asyncio.sleep(0.3)
        time.sleep(60)
    await child.stopping.wait()


async def failing(child: Child, config: Any, events: str, kind: str) -> None:
    """Fails at every start, in the way `kind` says."""
    note(events, child.name, "start")
    if kind == "config":
        raise ConfigError("a key is wrong")
    if kind == "fenced":
        raise FencedError("the journal belongs to another writer")
    if kind == "returns":
        return
    if kind == "hard":
        os._exit(3)
    raise HseieError("the surroundings refuse")


async def failing_later(child: Child, config: Any, events: str, flag: str) -> None:
    """Serves in its first life; in the later ones fails at start as long as the file `flag` is there."""
    note(events, child.name, "start")
    if Path(flag).exists():
        raise HseieError("the flag is there")
    child.ready()
    await child.stopping.wait()


async def telling(child: Child, config: Config, events: str) -> None:
    """Serves, and notes which configuration it has and how it was told to stop."""
    note(events, child.name, f"days:{config.ingest.past_max_days}")
    child.ready()
    await child.stopping.wait()
    note(events, child.name, "relieved" if child.relieved else "stopped")


async def storing(child: Child, config: Config, events: str, flag: str) -> None:
    """Serves, and says that its database is away as long as the file `flag` is there."""
    note(events, child.name, "start")
    child.report = lambda: {"database": "away" if Path(flag).exists() else "ok"}
    child.ready()
    await child.stopping.wait()


async def once(child: Child, config: Any, events: str, work_s: float = 0.1) -> None:
    """Does a thing and ends."""
    note(events, child.name, "start")
    try:
        async with asyncio.timeout(work_s):
            await child.stopping.wait()
    except TimeoutError:
        note(events, child.name, "done")


async def asking(child: Child, config: Any, events: str) -> None:
    """Asks for the snapshot from within and notes whom it saw."""
    child.ready()
    snapshot = await child.node_status(timeout_s=20)
    note(events, child.name, "saw:" + ",".join(sorted(row["name"] for row in snapshot["processes"])))
    await child.stopping.wait()


def make_plan(plan: dict[str, Any]) -> Plan:
    stages = [[make_spec(*one) for one in stage] for stage in plan["stages"]]
    return Plan(stages, plan["stop_order"])


def make_spec(name: str, serve: str, args: list[Any]) -> ProcessSpec:
    role = name.split("-")[0]
    once, beside, jointly = role in ("migrate", "reshard"), role == "acceptor", role == "writer"
    return ProcessSpec(name, role, globals()[serve], tuple(args), once=once, beside=beside, jointly=jointly)


async def main(data: Path, plan: dict[str, Any], overrides: dict[str, Any]) -> int:
    """Run a node; a reload takes plan and overrides from the file `next.json` beside the data folder."""
    config = load(overrides={"node.data": str(data), **overrides}).config
    logs.configure("debug", "json", "supervisor")
    lock = InstanceLock.acquire(data)
    run_dir = control.run_dir_of(data)
    control.prepare_run_dir(run_dir)

    async def prepare() -> Plan:
        return make_plan(plan)

    def read_again() -> Config:
        following = json.loads((data.parent / "next.json").read_text())
        return load(overrides={"node.data": str(data), **following["overrides"]}).config

    def plan_again(_: Config) -> Plan:
        return make_plan(json.loads((data.parent / "next.json").read_text())["plan"])

    supervisor = Supervisor(config, run_dir, prepare, on_ready=lambda: print("ready", flush=True))
    reloads = Reloads(supervisor, read_again, plan_again)
    supervisor.on_reload = lambda reply: reloads.ask(reply or (lambda answer: None))
    ending = await supervisor.run()
    if ending.reason:
        print(ending.reason, flush=True)
    lock.release()
    return int(ending.exit_code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        sys.exit(
            asyncio.Runner(loop_factory=uvloop.new_event_loop).run(
                main(Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
            )
        )
    except HseieError as error:
        print(f"hseie: {error}", file=sys.stderr)
        sys.exit(int(error.exit_code))
