"""A database in which readings are stored, pairs are set and rollups are made, and what they have to be."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from hseie.archive import Archive
from hseie.config import Config
from hseie.config_load import load
from hseie.database import connect, statement
from hseie.maintenance.partitions import open_connection
from hseie.maintenance.rollups import RollupDuty
from hseie.readings import KINDS
from tests.integration.rollup_oracle import DAY, HOUR, NAMES, Facts, Values, day_of, devices, hour_of, pairs

TABLES = (
    "archive_part meter_history vehicle_history meter_current vehicle_current meter_given_up vehicle_given_up"
    " device_pair pair_by_id rollup_mark register_event"
    " meter_hour vehicle_hour pair_hour meter_day vehicle_day pair_day"
)
REGISTERS = {"METER_R*": "register", "VEHICLE_R*": "register", "meter/VEHICLE_S1": "register"}


def configured(tmp_path: Path, **settings: Any) -> Config:
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return load(overrides={"node.data": str(tmp_path), "device.energy_of": REGISTERS, **given}).config


class World:
    """Stores as a writer does, and does the rounds of maintenance."""

    def __init__(self, config: Config, url: str) -> None:
        self.config = config
        self.url = url
        self.facts = Facts()
        self.now: datetime
        self._paired: set[tuple[str, datetime]] = set()

    async def open(self) -> "World":
        self.writer = await connect(self.url, "writer", 10)
        self.maintenance = await open_connection(self.config, self.url)
        self.archive = Archive(self.config.archive_dir, 128)
        self.archive.folder.mkdir(parents=True)
        self.restart()
        return self

    async def close(self) -> None:
        await self.archive.close()
        await self.writer.close()
        await self.maintenance.close()

    def restart(self, config: Config | None = None) -> None:
        """A new life of maintenance."""
        self.config = config or self.config
        self.duty = RollupDuty(structlog.get_logger(), self.config, self.url)
        self.facts.registers = lambda kind, device: (
            bool(self.config.device.energy_of)
            and (device.startswith(("METER_R", "VEHICLE_R")) or (kind, device) == ("meter", "VEHICLE_S1"))
        )
        self.facts.tolerance = timedelta(seconds=self.config.analytics.correlation_window_s)

    async def reset(self, now: datetime) -> None:
        """Empty the database."""
        await self.writer.execute("; ".join(f"DELETE FROM {table}" for table in TABLES.split()))
        await self.writer.execute(
            "UPDATE rollup_state SET rolled_until = '-infinity', closed_until = '-infinity', settings = '',"
            " hours_from = '-infinity', days_from = '-infinity'"
        )
        self.facts = Facts()
        self.restart()
        self.now = now
        self._paired.clear()

    async def take(self, step: tuple[str, Any]) -> None:
        """Do what one of the steps in rollup_steps says."""
        name, what = step
        if name == "store":
            await self.store(*what)
        elif name == "pair":
            vehicle, meter, start, length = what
            if (vehicle, start) not in self._paired:
                self._paired.add((vehicle, start))
                await self.pair(vehicle, meter, start, start + length)
        elif name == "restart":
            self.restart()
        elif name == "archive":
            if self.archive.available:
                await self.put_away(what)
        else:
            await self.round(what)

    async def store(self, *rows: tuple[str, str, datetime, Values]) -> None:
        """Store readings in one transaction as a writer does, marks among them."""
        async with self.writer.transaction():
            await self.store_open(*rows)

    async def store_open(self, *rows: tuple[str, str, datetime, Values]) -> None:
        """The same, in a transaction that somebody else began."""
        run = self.writer
        await run.execute("SELECT pg_advisory_xact_lock_shared(hseie_rollup_lock())")
        late = await run.fetchval("SELECT closed_until + margin FROM rollup_state WHERE isfinite(closed_until)")
        for kind, device, at, values in rows:
            await run.execute("SELECT hseie_make_partition($1, $2)", kind, at.date())
            places = ", ".join(f"${place}" for place in range(1, len(values) + 3))
            names = f'{kind}_id, "timestamp", {", ".join(NAMES[kind])}'
            # Shown in one order, whatever order rows are stored in.
            await run.execute(f"INSERT INTO {kind}_history ({names}) VALUES ({places})", device, at, *values)
            await run.execute(
                f"INSERT INTO {kind}_current ({names}) VALUES ({places}) ON CONFLICT ({kind}_id) DO UPDATE"
                f' SET "timestamp" = greatest({kind}_current."timestamp", excluded."timestamp")',
                device,
                at,
                *values,
            )
            if late is not None and at < late:
                await self.mark(kind, device, hour_of(at))
            self.facts.rows.append((kind, device, at, values))

    async def mark(self, kind: str, device: str, hour: datetime) -> None:
        await self.writer.execute(
            "INSERT INTO rollup_mark (kind, device_id, bucket) VALUES ($1, $2, $3)", kind, device, hour
        )

    async def pair(self, vehicle: str, meter: str, start: datetime, end: datetime) -> None:
        """Set a pairing, and mark what it changes, also of those whom the meter may feed by its id."""
        async with self.writer.transaction():
            await self.writer.execute("SELECT pg_advisory_xact_lock_shared(hseie_rollup_lock())")
            closed = await self.writer.fetchval("SELECT closed_until FROM rollup_state WHERE isfinite(closed_until)")
            await self.writer.execute("INSERT INTO device_pair VALUES ($1, $2, $3, $4)", vehicle, meter, start, end)
            hour = hour_of(start)
            while closed is not None and hour < min(end, closed):
                for name in {vehicle} | {name for name in self.facts.devices("vehicle") if name[-2:] == meter[-2:]}:
                    await self.mark("pair", name, hour)
                hour += HOUR
        self.facts.pairings.append((vehicle, meter, start, end))

    async def put_away(self, day: datetime) -> None:
        """Move what history has of a UTC day to files of the archive."""
        for kind in KINDS:
            table = f"{kind.name}_history_{day:%Y_%m_%d}"
            if not await self.writer.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                continue
            names = f'id, created_at, "timestamp", {kind.id_column}, {", ".join(NAMES[kind.name])}'
            rows = await self.writer.fetch(f"SELECT {names} FROM {table} ORDER BY {kind.id_column}, timestamp, id")
            part = 1 + await self.writer.fetchval(
                "SELECT count(*) FROM archive_part WHERE kind = $1 AND day = $2", kind.name, day.date()
            )
            lines = self.archive.folder / "lines"
            lines.write_text("".join("\t".join(str(value) for value in row) + "\n" for row in rows))
            file = f"{uuid4().hex}.parquet"
            await self.archive.write(kind, lines, self.archive.folder / file)
            await self.writer.execute(f"DROP TABLE {table}")
            await self.writer.execute(
                "INSERT INTO archive_part (kind, day, part, state, file, readings, booked)"
                " VALUES ($1, $2, $3, 'archived', $4, $5, 0)",
                kind.name,
                day.date(),
                part,
                file,
                len(rows),
            )

    async def give_up(self, day: datetime) -> None:
        """Delete for good what history has of a UTC day."""
        for kind in KINDS:
            table = f"{kind.name}_history_{day:%Y_%m_%d}"
            if await self.writer.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                await self.writer.execute(statement("given_up_keep", kind), day, day + DAY)
                await self.writer.execute(f"DROP TABLE {table}")
            await self.writer.execute(
                "INSERT INTO archive_part (kind, day, part, state, readings, booked)"
                " VALUES ($1, $2, 1, 'dropped', 1, 1)",
                kind.name,
                day.date(),
            )

    async def round(self, now: datetime | None = None) -> None:
        """Rounds of maintenance until nothing is left."""
        self.now = max(self.now, now or self.now)
        while await self.duty.work(self.maintenance, self.now) == 0:
            pass

    async def rows(self, table: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        keys = 3 if table.startswith("pair") else 2
        return {tuple(row)[:keys]: tuple(row)[keys:] for row in await self.writer.fetch(f"SELECT * FROM {table}")}

    async def prove(self) -> None:
        """All rollups say what the rows say, and nothing is left to do."""
        rolled = await self.writer.fetchval("SELECT rolled_until FROM rollup_state")
        assert await self.writer.fetchval("SELECT count(*) FROM rollup_mark WHERE bucket < $1", rolled) == 0
        for kind in ("meter", "vehicle"):
            assert await self.rows(f"{kind}_hour") == until(rolled, devices(self.facts, kind, hour_of), HOUR)
            assert await self.rows(f"{kind}_day") == until(rolled, devices(self.facts, kind, day_of), DAY)
        assert await self.rows("pair_hour") == until(rolled, pairs(self.facts, hour_of), HOUR)
        assert await self.rows("pair_day") == until(rolled, pairs(self.facts, day_of), DAY)
        events = {
            (kind, device, at): event
            for kind in ("meter", "vehicle")
            for device in self.facts.devices(kind)
            if self.facts.registers(kind, device)
            for at, event in self.facts.events(kind, device).items()
            if at < rolled
        }
        stored = await self.writer.fetch("SELECT * FROM register_event")
        assert {(row["kind"], row["device_id"], row["timestamp"]): row["event"] for row in stored} == events


def until(rolled: datetime, rows: dict[tuple[Any, ...], Any], width: timedelta) -> dict[tuple[Any, ...], Any]:
    return {key: row for key, row in rows.items() if key[1] + width <= rolled}
