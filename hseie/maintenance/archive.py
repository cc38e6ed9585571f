"""Old days leave history: to Parquet files, or for good. One step of one day a round, the oldest first.

Every step can be cut off anywhere and is found again from what stands in archive_part, in history and in the folder.
One process of all that share a database does it at a time; the lock ends with its connection.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hseie import archive_files, database
from hseie.archive import Archive, Part
from hseie.archive_export import export, note
from hseie.archive_look import look
from hseie.config import Config
from hseie.database import Failure, statement
from hseie.errors import ArchiveUnavailableError
from hseie.maintenance.archive_drop import drop_empty, drop_written, give_up, rolled_up
from hseie.maintenance.archive_plan import OldDay, Step, next_step, old_days
from hseie.readings import KIND_BY_NAME

BETWEEN_STEPS_S = 1.0
RETRY_S = 5.0  # for a lock that somebody holds
EXPORT_TIMEOUT_S = 3600.0  # a day a thousand times as large as it should be takes no longer

# How many times as long as a statement a question of several may take; files are read from their first moment on, and
# history is read until it is dropped so much later.
GRACE_STATEMENTS = 8

_ADVICE = {
    "no_duckdb": "old days stay in PostgreSQL: install the extra `archive`, or set retention.then = drop",
    "folder": "nothing is lost, old days stay in PostgreSQL; make room or see to the folder, it is tried again",
    "day": "nothing is lost, this day stays in PostgreSQL and others go on; look at it, it is tried again",
    "damaged": "the day is written anew from PostgreSQL; see to the disk of the archive",
    "clock": "old days stay in PostgreSQL: no reading is new enough for them to be old; is this machine's clock ahead?",
    "rollups_behind": "old days stay in PostgreSQL until their rollups are made; see what maintenance says of those",
}


class ArchiveDuty:
    """Archives or drops old days. See `hseie.maintenance.duty`."""

    name = "archive"

    def __init__(self, log: Any, config: Config, archive: Archive | None = None) -> None:
        self.interval_s = config.maintenance.interval_s
        self.grace_s = GRACE_STATEMENTS * config.analytics.statement_timeout_ms / 1000
        self.archive = archive or Archive.of(config)
        self._retention = config.retention
        self._future = timedelta(seconds=config.ingest.future_max_s)
        self._log = log
        self._trouble = ""
        self._reason = ""
        self._unfit = ""  # why the folder will take no day, though none may want to go there now
        self._failed: dict[tuple[str, date], str] = {}  # days whose step failed, by turns, and why
        self._figures: dict[str, int] = {}

    def report(self) -> dict[str, Any]:
        return {**self._figures, "archive_trouble": self._trouble, "archive_trouble_reason": self._reason}

    async def work(self, connection: Any, now: datetime) -> float:
        if not await connection.fetchval(statement("archive_lock")):
            return self.interval_s
        await connection.execute(statement("archive_release"), None, None, now)
        waiting = await self._old_days(connection, now)
        self._unfit = await self._unfit_folder(connection)
        try:
            pause_s = await self._do_one(connection, waiting)
        except ArchiveUnavailableError:
            pause_s = self.interval_s
            if connection.is_closed():  # a COPY was under way
                return pause_s
        except database.PostgresError as error:
            # Somebody reads or writes for long: nothing was done, and nobody may be kept waiting.
            if database.classify(error) is not Failure.RETRY:
                raise
            pause_s = min(RETRY_S, self.interval_s)
        row = await connection.fetchrow(statement("archive_figures"))
        self._figures = {f"archive_{name}": count for name, count in row.items()}
        self._figures["archive_days_waiting"] = len(await self._old_days(connection, now))
        return pause_s

    async def _old_days(self, connection: Any, now: datetime) -> list[OldDay]:
        """Return the days that should leave history, those that are restored not among them."""
        if not self._retention.raw_days:
            return []
        first_kept = self._first_kept(now)
        days = await connection.fetch(statement("archive_days"), list(KIND_BY_NAME), first_kept)
        rows = await connection.fetch(statement("archive_all"), date.min, first_kept)
        parts = [(Part.of(row), row["age_s"]) for row in rows]
        found = old_days([(row["kind"], row["day"], row["booked"]) for row in days], parts)
        return [old for old in found if self._step(old)[0] is not Step.KEEP]

    def _first_kept(self, now: datetime) -> date:
        return now.astimezone(UTC).date() - timedelta(days=self._retention.raw_days)

    async def _surely_old_before(self, connection: Any) -> date:
        """Return before which UTC day readings are old by the devices' clocks too, whatever this machine's says."""
        newest = await connection.fetchval(statement("archive_newest"))
        return self._first_kept(newest + self._future) if newest else date.min

    def _step(self, old: OldDay) -> tuple[Step, float]:
        return next_step(old, self._retention.then, self.grace_s)

    async def _do_one(self, connection: Any, days: list[OldDay]) -> float:
        """Do the first step that can be done; return the seconds until the next."""
        trouble, pause_s = "", self.interval_s
        surely_old_before = await self._surely_old_before(connection)
        # One that fails is not in the way of the others: it is tried again when there is nothing else to do.
        waiting = {(old.kind, old.day) for old in days}
        self._failed = {day: why for day, why in self._failed.items() if day in waiting}
        turns = {day: turn for turn, day in enumerate(self._failed)}
        for old in sorted(days, key=lambda old: turns.get((old.kind, old.day), -1)):
            step, wait_s = self._step(old)
            if step is Step.WAIT:
                pause_s = min(pause_s, max(wait_s, BETWEEN_STEPS_S))
            elif await drop_empty(connection, KIND_BY_NAME[old.kind], old):
                return BETWEEN_STEPS_S
            elif old.day >= surely_old_before:
                trouble = "clock"
            elif not await rolled_up(connection, old):
                trouble = "rollups_behind"
            elif step is Step.WRITE and not self.archive.available:
                trouble = "no_duckdb"
            else:
                await self._try(connection, step, old)
                return BETWEEN_STEPS_S
        if self._unfit and not trouble:
            trouble = "folder"
        self._met(trouble, self._unfit if trouble == "folder" else "")
        return pause_s

    async def _try(self, connection: Any, step: Step, old: OldDay) -> None:
        day = (old.kind, old.day)
        again = self._failed.pop(day, None) is not None
        try:
            await self._do(connection, step, old)
        except ArchiveUnavailableError as error:
            self._failed[day] = f"{old.kind} {old.day}: {error}"
            # It is not the folder's trouble where others went well meanwhile.
            self._met("day" if again and self._trouble == "day" else "folder", self._failed[day])
            raise

    async def _do(self, connection: Any, step: Step, old: OldDay) -> None:
        kind = KIND_BY_NAME[old.kind]
        said = {"kind": old.kind, "day": str(old.day)}
        if step is Step.WRITE:
            await self._claim(connection)
            work = export(connection, self.archive, kind, old.day, old.numbers)
            written = await database.within(EXPORT_TIMEOUT_S, connection, work)
            if written is not None:
                await note(connection, kind, old.day, written)
                size = {"readings": written.content.readings, "bytes": written.bytes}
                self._log.info("day_written", **said, part=written.part, **size)
            self._met("")
            return
        if old.written:
            await self._claim(connection)
            if damage := await self._damage(old):
                self._met("damaged", damage)
                await connection.execute(statement("archive_forget"), old.kind, old.day)
                return
            # Before the drop: the day is not looked at again. What is no longer named was given up a grace ago.
            await self._sweep(connection, old)
        if step is Step.GIVE_UP:
            if await give_up(connection, kind, old):
                self._log.info("day_dropped", **said, booked=old.booked)
        elif await drop_written(connection, kind, old):
            self._log.info("day_archived", **said, readings=sum(part.readings for part, _ in old.written))
        self._met("")

    async def _damage(self, old: OldDay) -> str:
        """Return what is wrong with the files that are to be all that is left of a day."""
        for part, _ in old.written:
            folder = self.archive.folder
            if found := await asyncio.to_thread(archive_files.damage, folder, part.file, part.bytes, part.sha256):
                return found
        return ""

    async def _unfit_folder(self, connection: Any) -> str:
        """Return why days that are old tomorrow would not get into the folder, nor out of it."""
        row = await connection.fetchrow(statement("archive_identity"))
        if row["used"] or (self._retention.raw_days and self._retention.then == "archive"):
            try:
                await look(self.archive.folder, row["identity"], row["used"])
            except ArchiveUnavailableError as error:
                return str(error)
        return ""

    async def _claim(self, connection: Any) -> None:
        row = await connection.fetchrow(statement("archive_identity"))
        with archive_files.told(self.archive.folder):
            await asyncio.to_thread(archive_files.claim, self.archive.folder, row["identity"], row["used"])

    async def _sweep(self, connection: Any, old: OldDay) -> None:
        rows = await connection.fetch(statement("archive_unnamed"), old.kind, old.day)
        unnamed, named = [row["file"] for row in rows], [part.file for part, _ in old.parts if part.file]
        with archive_files.told(self.archive.folder):
            removed = await asyncio.to_thread(archive_files.sweep, self.archive.folder, unnamed, named)
        await connection.execute(statement("archive_removed"), removed)

    def _met(self, trouble: str, reason: str = "") -> None:
        """Note what keeps days from leaving history, and say it once; an empty text is the end of it."""
        if self._failed and not trouble:
            trouble, reason = "day", next(reversed(self._failed.values()))
        if trouble and (trouble, reason) != (self._trouble, self._reason):
            self._log.warning("archive_held_up", trouble=trouble, reason=reason, advice=_ADVICE[trouble])
        elif self._trouble and not trouble:
            self._log.info("archive_goes_on")
        self._trouble, self._reason = trouble, reason
