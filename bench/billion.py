"""Weeks of the nominal fleet, made day by day with the node's own maintenance, and questions about them.

Each day is generated, its hours are closed and rolled up, and what is older than the days that are kept goes to the
archive: by the duties of the maintenance process, which are told that it is the night after that day. While they work
on one day the next ones are generated. Everything is in the database and its folder, so a run that was stopped goes on
where it was. Between the growing a real node answers questions, with its own maintenance held still.
"""

import asyncio
import contextlib
import http.client
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from fleet_history import DAY, HOUR, Fleet, check_room, running_postgres  # the benches beside this one
from node import free_port, running_node
from observed import rows, sizes
from questions import ask

from hseie.config import Config
from hseie.config_load import load
from hseie.maintenance.archive import ArchiveDuty
from hseie.maintenance.partitions import open_connection
from hseie.maintenance.rollups import RollupDuty

DAYS = 35
KEPT_DAYS = 2  # in PostgreSQL
MILESTONES = (1, 7, 35)
RESULTS = "billion.json"
# Per reading: of days that are kept, of those in the line, of one that is archived, and of the rollups of its hour.
KEPT_BYTES, BUILT_BYTES, ARCHIVED_BYTES, ROLLED_BYTES = 250, 160, 8, 8
LINE_DAYS = 4  # one that is made, one rolled up, one archived, and one between
MINUTE = timedelta(minutes=1)
NIGHT = timedelta(minutes=30)  # after midnight, when a day is closed
# While nothing may move: the log before the first close is a century, no day is old enough, nothing is rolled up.
STILL = {"HSEIE_MAINTENANCE__ROLLUP_LAG_S": "3155760000", "HSEIE_RETENTION__RAW_DAYS": "0"}
# Nothing is read back after a crash: the tables are made in the transaction that fills them, and need no log then.
UNLOGGED = {"wal_level": "minimal", "max_wal_senders": "0"}
Found = dict[str, Any]
Line = asyncio.Queue[datetime | None]  # the midnights after days; None after the last one


@dataclass
class Growth:
    """The history under a data folder, of so many pairs and days."""

    data: Path
    devices: int
    days: int
    kept_days: int

    def __post_init__(self) -> None:
        # Nobody asks while it grows, so that nobody has to be waited for before a day is dropped.
        nobody = {"analytics.statement_timeout_ms": 100}
        overrides = {"node.data": str(self.data), "retention.raw_days": self.kept_days, **nobody}
        self.config: Config = load(overrides=overrides).config

    def check_room(self) -> None:
        a_day = self.devices * 2880
        postgres = self.kept_days * KEPT_BYTES + LINE_DAYS * BUILT_BYTES
        needed = a_day * (postgres + self.days * (ARCHIVED_BYTES + ROLLED_BYTES))
        present = sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())
        check_room(self.data, max(0, needed - present))

    def grow(self, days: int) -> tuple[datetime, datetime]:
        """Make history of that many days, as far as it is missing; its first and last moment."""
        with running_postgres(self.data, UNLOGGED) as url:
            return asyncio.run(self._grow(url, days))

    async def _grow(self, url: str, days: int) -> tuple[datetime, datetime]:
        fleet = Fleet(url, self.devices)
        await fleet.prepare()
        made = await fleet.made()
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first, until = made or (midnight - self.days * DAY,) * 2
        end = first + days * DAY
        self._began, self._done_before = time.monotonic(), until - first
        # As an assembly line, a day apart at least; a new run begins by tending what the last one made.
        filled: Line = asyncio.Queue(1)
        rolled: Line = asyncio.Queue(1)
        if until > first:
            filled.put_nowait(until)
        days_left = [until + number * DAY for number in range((end - until) // DAY)]
        await asyncio.gather(
            self._make(fleet, days_left, first, filled),
            self._roll(url, filled, rolled),
            self._archive(url, rolled, first),
        )
        return first, end

    async def _make(self, fleet: Fleet, days: list[datetime], first: datetime, filled: Line) -> None:
        for day in days:
            kept = day >= first + (self.days - self.kept_days) * DAY
            await (fleet.fill if kept else fleet.build)(day, day + DAY, _say)
            await filled.put(day + DAY)
        await filled.put(None)

    async def _roll(self, url: str, filled: Line, rolled: Line) -> None:
        """Do what maintenance does in the night after each day."""
        while (midnight := await filled.get()) is not None:
            await self._duty(url, RollupDuty(structlog.get_logger(), self.config, url), midnight)
            await rolled.put(midnight)
        await rolled.put(None)

    async def _archive(self, url: str, rolled: Line, first: datetime) -> None:
        duty = ArchiveDuty(structlog.get_logger(), self.config)
        try:
            while (midnight := await rolled.get()) is not None:
                await self._duty(url, duty, midnight)
                if trouble := duty.report()["archive_trouble"]:
                    raise SystemExit(f"the archive is held up: {trouble} {duty.report()['archive_trouble_reason']}")
                self._say(midnight - first)
        finally:
            await duty.archive.close()

    async def _duty(self, url: str, duty: Any, midnight: datetime) -> None:
        began = time.monotonic()
        await self._work(url, duty, midnight + NIGHT)
        _say(f"{midnight - DAY:%Y-%m-%d} {duty.name}: {time.monotonic() - began:.0f} s")

    async def _work(self, url: str, duty: Any, now: datetime) -> None:
        """Let a duty do all that is due at a time."""
        connection = await open_connection(self.config, url)
        try:
            while (pause_s := await duty.work(connection, now)) < duty.interval_s:
                await asyncio.sleep(min(pause_s, 0.2))
        finally:
            await connection.close()

    def _say(self, made: timedelta) -> None:
        took_s = time.monotonic() - self._began
        a_day_s = took_s / max(1, (made - self._done_before) // DAY)
        left_s = a_day_s * (self.days - made // DAY)
        _say(f"{made // DAY} of {self.days} days; {a_day_s:.0f} s a day, {left_s / 60:.0f} min to go")


def _say(text: str) -> None:
    print(f"  {datetime.now(UTC):%H:%M:%S} {text}", flush=True)


# --- questions --------------------------------------------------------------------------------------------------------


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Question:
    """A question about a vehicle or the fleet; no two are alike, so that no kept answer is measured."""

    start: datetime | None
    end: datetime | None
    form: str
    devices: int

    def __call__(self, dice: random.Random) -> str:
        # Ends that differ by whole minutes, and do not lie at whole hours.
        shift = timedelta(minutes=dice.randint(1, 9))
        window = (
            f"from={text(self.start + shift)}&to={text(self.end + shift - 10 * MINUTE)}"
            if self.start and self.end
            else ""
        )
        return self.form.format(
            vehicle=f"VEHICLE_{dice.randint(1, self.devices):03d}",
            window=window,
            threshold=f"{85 + dice.random():.4f}",
            hours=dice.randint(690, 720),
        )


PERFORMANCE = "/v1/analytics/performance/{vehicle}?{window}"
HISTORY = "/v1/analytics/history/vehicle/{vehicle}?{window}&limit=2000"


def of_fixed_length(end: datetime, devices: int) -> dict[str, Question]:
    """Questions about the same stretch of time before `end`, however long the history is."""
    return {
        "performance, the last 24 h": Question(end - DAY, end, PERFORMANCE, devices),
        "readings of the last hour": Question(end - HOUR, end, HISTORY, devices),
        "the newest 100 readings": Question(None, None, "/v1/analytics/history/vehicle/{vehicle}?limit=100", devices),
        "the current state": Question(None, None, "/v1/ingest/vehicle/{vehicle}/current", devices),
        "the worst 100 pairs of 24 h": Question(
            None, None, "/v1/analytics/alerts?limit=100&window=24h&threshold={threshold}", devices
        ),
    }


def of_the_whole(end: datetime, days: int, kept_days: int, devices: int) -> dict[str, Question]:
    """The questions that are promised to take less than a second."""
    long = min(30, days)
    old = end - (kept_days + (days - kept_days) // 2) * DAY  # in the middle of what is archived
    worst = f"/v1/analytics/alerts?limit=100&window={long}d&threshold={{threshold}}"
    return {
        "performance, the last 24 h": Question(end - DAY, end, PERFORMANCE, devices),
        "performance, 24 h in the archive": Question(old - DAY, old, PERFORMANCE, devices),
        "readings, 24 h in the archive": Question(old - DAY, old, HISTORY, devices),
        f"performance, {long} days": Question(end - long * DAY, end, PERFORMANCE, devices),
        f"the fleet's efficiency, {long} days": Question(
            None,
            None,
            "/v1/analytics/stats?window={hours}h" if days >= 30 else f"/v1/analytics/stats?window={long}d",
            devices,
        ),
        f"the worst 100 pairs of {long} days": Question(None, None, worst, devices),
    }


@contextlib.contextmanager
def still_node(data: Path) -> Iterator[int]:
    """A real node whose maintenance leaves everything as it is; the port of analytics."""
    before = {name: os.environ.get(name) for name in STILL}
    os.environ.update(STILL)
    port = free_port()
    try:
        with running_node(data, port):
            yield port + 1
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


class Asker:
    """One client on one connection."""

    def __init__(self, port: int, seed: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._dice = random.Random(seed)
        self._connection.connect()

    def ms(self, question: Callable[[random.Random], str]) -> float:
        """Ask, and return the milliseconds until the whole answer was there. It has to be 200."""
        path = question(self._dice)
        began = time.perf_counter()
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:500]!r}")
        return took_ms

    def close(self) -> None:
        self._connection.close()


def drop_caches() -> bool:
    """Make the kernel forget what it has read; false where we may not."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def cold(data: Path, question: Question, number: int) -> tuple[float, bool]:
    """Milliseconds of the first question after a start of everything, and whether the kernel's cache was empty too."""
    dropped = drop_caches()
    with still_node(data) as port, contextlib.closing(Asker(port, number)) as asker:
        return asker.ms(question), dropped


def cold_and_warm(data: Path, questions: dict[str, Question], colds: int, warms: int) -> Found:
    found: Found = {}
    for name, question in questions.items():
        starts = [cold(data, question, number) for number in range(colds)]
        found[name] = {"cold_ms": [took for took, _ in starts], "dropped": all(dropped for _, dropped in starts)}
    with still_node(data) as port, contextlib.closing(Asker(port, colds)) as asker:
        for name, question in questions.items():
            asker.ms(question)
            found[name]["warm_ms"] = [asker.ms(question) for _ in range(warms)]
    for name, times in found.items():
        print(f"  {name:<36} cold {spread(times['cold_ms'])}   warm {spread(times['warm_ms'])}", flush=True)
    return found


def spread(times_ms: list[float]) -> str:
    if not times_ms:
        return "not measured"
    return f"{statistics.median(times_ms):7.1f} ms (longest {max(times_ms):7.1f})"


def of_this_length(data: Path, questions: dict[str, Question], seconds: float) -> Found:
    found = {}
    with still_node(data) as port:
        for name, question in questions.items():
            measured = ask(port, question, clients=1, seconds=seconds)
            print(f"  {name:<36} {measured}", flush=True)
            if set(measured.statuses) != {"200"}:
                raise SystemExit(f"not all were answered: {measured.statuses}")
            found[name] = measured.figures()
    return found


# --- the whole --------------------------------------------------------------------------------------------------------


def grow_and_measure(growth: Growth, seconds: float, colds: int, warms: int) -> Found:
    """Grow to each milestone, measure the fixed windows there, and in the end what is asked of the whole."""
    file = growth.data / RESULTS
    found: Found = json.loads(file.read_text()) if file.exists() else {"lengths": {}}
    growth.check_room()
    for days in sorted({day for day in MILESTONES if day < growth.days} | {growth.days}):
        _, end = growth.grow(days)
        if str(days) not in found["lengths"]:
            print(f"{days} days of history, one client:")
            found["lengths"][str(days)] = of_this_length(growth.data, of_fixed_length(end, growth.devices), seconds)
            file.write_text(json.dumps(found, indent=1))
    print(f"{growth.days} days:")
    questions = of_the_whole(end, growth.days, growth.kept_days, growth.devices)
    found["whole"] = cold_and_warm(growth.data, questions, colds, warms)
    with running_postgres(growth.data) as url:
        found["sizes"] = sizes(url)
        (archived,) = rows(
            url, "SELECT coalesce(sum(readings), 0)::bigint, coalesce(sum(bytes), 0)::bigint FROM archive_part"
        )
        found["archive"] = {"readings": archived[0], "bytes": archived[1]}
    total = archived[0] + sum(size["readings"] for size in found["sizes"].values())
    each = archived[1] / max(1, archived[0])
    print(f"{total:,} readings, {archived[0]:,} of them in the archive, {each:.2f} B each")
    for kind, size in found["sizes"].items():
        print(f"  in PostgreSQL, {kind}: {size['heap']:.1f} B in the heap, {size['index']:.1f} B in the index")
    file.write_text(json.dumps(found, indent=1))
    return found
