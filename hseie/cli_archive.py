"""`hseie archive`: the days that have left history, for an operator. Works with the node running or not.

A module of its own beside `cli`, which imports it when the command is asked for.
"""

import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from hseie import clock
from hseie.archive import Archive, Part
from hseie.archive_check import all_parts, verify
from hseie.archive_restore import hold_archive, restore
from hseie.cli import configuration, json_option, node_options
from hseie.commands import with_database
from hseie.config import Config
from hseie.database import statement
from hseie.errors import ArchiveUnavailableError, ExitCode, HseieError
from hseie.readings import KIND_BY_NAME
from hseie.tables import print_table

T = TypeVar("T")

# Maintenance holds the archive for a step, which may be the writing of a day.
PATIENCE_S = 300.0

_day_type = click.DateTime(["%Y-%m-%d"])
kind_option = click.option("--kind", type=click.Choice(list(KIND_BY_NAME)), help="Only of this kind.")
day_argument = click.argument("day", type=_day_type, metavar="DAY")
from_option = click.option("--from", "first", type=_day_type, metavar="DAY", help="From this UTC day on.")
to_option = click.option("--to", "last", type=_day_type, metavar="DAY", help="Up to this UTC day.")


@click.group()
def archive() -> None:
    """Look after days that have left PostgreSQL.

    They are kept in Parquet files, in the folder `retention.archive`. A DAY is a UTC day, as 2026-02-08.
    """


@archive.command("list")
@node_options
@json_option
@kind_option
@from_option
@to_option
def list_(
    file: Path | None, data: str | None, as_json: bool, kind: str | None, first: datetime | None, last: datetime | None
) -> int:
    """Show the archived days: how many files and readings, how large, and in which state.

    written: in PostgreSQL too, until no query needs it there; archived: in files only; restored: in PostgreSQL again;
    dropped: deleted for good, as retention.then has it.
    """
    parts = _find(configuration(file, data), kind, first, last)
    days = _by_day(parts)
    if as_json:
        _print_json({"parts": [_document(part) for part in parts]})
    elif days:
        columns = ("kind", "day", "parts", "readings", "bytes", "bytes/reading", "state")
        print_table(columns, [_cells(of_day) for of_day in days], right=columns[2:6])
    else:
        click.echo("No day has left PostgreSQL.")
    return int(ExitCode.OK)


@archive.command("verify")
@node_options
@json_option
@kind_option
@from_option
@to_option
def verify_(
    file: Path | None, data: str | None, as_json: bool, kind: str | None, first: datetime | None, last: datetime | None
) -> int:
    """Read the files of the archive again and compare them with what was noted when they were verified.

    Size, SHA-256, and with DuckDB the count and the exact sums of all columns. Exit code 1 when a file is missing or
    damaged.
    """
    config = configuration(file, data)
    parts = [part for part in _find(config, kind, first, last) if part.file]

    async def work(connection: Any, files: Archive) -> dict[str, str]:
        found = {}
        for part in parts:
            if damage := await verify(files, part):
                # Not of one that was written anew, or given up, since we looked.
                now = await all_parts(connection, part.day, part.day)
                if any((other.kind, other.part) == (part.kind, part.part) for other in now):
                    found[part.file] = damage
        return found

    damaged = _with_archive(config, work)
    if as_json:
        _print_json({"verified": len(parts), "damaged": [{"file": name, "is": text} for name, text in damaged.items()]})
    else:
        for text in damaged.values():
            click.echo(f"! {text}")
        click.echo(f"{len(parts)} files read, {len(damaged)} damaged or missing.")
    return int(ExitCode.FAILURE if damaged else ExitCode.OK)


@archive.command("restore")
@node_options
@json_option
@kind_option
@click.option(
    "--for", "days", type=click.IntRange(1, 3660), default=7, show_default=True, metavar="DAYS", help="For how long."
)
@day_argument
def restore_(file: Path | None, data: str | None, as_json: bool, kind: str | None, days: int, day: datetime) -> int:
    """Bring a day back into PostgreSQL, from its files.

    Queries find archived days as they are; this is for SQL of your own. Asked again, it moves the end only. Each kind
    comes back whole or not at all; where one does not, the others do, the exit code is not 0, and the same command,
    later, brings what is missing.
    """
    config = configuration(file, data)
    until = clock.utc_now() + timedelta(days=days)
    restored: dict[str, int] = {}
    failed: dict[str, HseieError] = {}
    end_of_patience = time.monotonic() + PATIENCE_S

    for name in _kinds_with_files(config, kind, day):
        try:
            restored[name] = _with_archive(config, _restoring(name, day.date(), until, end_of_patience))
        except HseieError as error:
            failed[name] = error
            click.echo(f"hseie: {name} {day.date()} is not restored: {error}", err=True)
        else:
            # At once: who ends this while the next kind is under way has been told.
            if not as_json:
                said = f"{restored[name]} readings" if restored[name] else "was there"
                click.echo(f"{name} {day.date()}: {said}, until {until:%F %R} UTC")
    if as_json:
        reasons = {name: str(error) for name, error in failed.items()}
        _print_json({"day": day.date(), "restored": restored, "failed": reasons, "until": until})
    return int(next((error.exit_code for error in failed.values()), ExitCode.OK))


def _kinds_with_files(config: Config, kind: str | None, day: datetime) -> list[str]:
    if found := sorted({part.kind for part in _find(config, kind, day, day) if part.file}):
        return found
    raise ArchiveUnavailableError(f"no file has readings of {day.date()}; see `hseie archive list`")


def _restoring(
    name: str, day: date, until: datetime, end_of_patience: float
) -> Callable[[Any, Archive], Coroutine[Any, Any, int]]:
    """Return the work for one kind. It has a connection of its own: a file that fails on the way cuts it."""

    async def work(connection: Any, files: Archive) -> int:
        await hold_archive(connection, max(0.0, end_of_patience - time.monotonic()))
        return await restore(connection, files, KIND_BY_NAME[name], day, until)

    return work


@archive.command("release")
@node_options
@json_option
@kind_option
@day_argument
def release(file: Path | None, data: str | None, as_json: bool, kind: str | None, day: datetime) -> int:
    """End a restore before its time: maintenance takes the day out of PostgreSQL again. Its files have stayed."""

    async def work(connection: Any, _: Archive) -> Sequence[Any]:
        await hold_archive(connection, PATIENCE_S)
        rows: Sequence[Any] = await connection.fetch(statement("archive_release"), kind, day.date(), None)
        return rows

    released = sorted({row["kind"] for row in _with_archive(configuration(file, data), work)})
    if as_json:
        _print_json({"day": day.date(), "released": released})
    else:
        click.echo(f"{day.date()} is released: {', '.join(released) or 'nothing, it was not restored'}.")
    return int(ExitCode.OK)


def _find(config: Config, kind: str | None, first: datetime | None, last: datetime | None) -> list[Part]:
    days = (first.date() if first else date.min, last.date() if last else date.max)
    parts = with_database(config, "hseie archive", lambda connection: all_parts(connection, *days))
    return [part for part in parts if kind in (None, part.kind)]


def _with_archive(config: Config, work: Callable[[Any, Archive], Coroutine[Any, Any, T]]) -> T:
    async def with_both(connection: Any) -> T:
        files = Archive.of(config)
        try:
            return await work(connection, files)
        finally:
            await files.close()

    return with_database(config, "hseie archive", with_both)


def _by_day(parts: Sequence[Part]) -> list[list[Part]]:
    days: dict[tuple[date, str], list[Part]] = {}
    for part in parts:
        days.setdefault((part.day, part.kind), []).append(part)
    return list(days.values())


def _cells(parts: list[Part]) -> tuple[str, ...]:
    files = [part for part in parts if part.file]
    size, filed = sum(part.bytes for part in files), sum(part.readings for part in files)
    return (
        parts[0].kind,
        str(parts[0].day),
        str(len(parts)),
        str(sum(part.readings for part in parts)),
        str(size),
        f"{size / filed:.2f}" if filed else "-",
        ", ".join(dict.fromkeys(part.state for part in parts)),
    )


def _document(part: Part) -> dict[str, Any]:
    return {name: getattr(part, name) for name in Part.__dataclass_fields__}


def _print_json(document: dict[str, Any]) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
