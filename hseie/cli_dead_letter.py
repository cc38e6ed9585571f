"""`hseie dead-letter`: the rows that PostgreSQL refused, for an operator. Works with the database alone.

A module of its own beside `cli`, which imports it when the command is asked for.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from hseie import clock, database, dead_letters
from hseie.archive import Archive
from hseie.cli import configuration, json_option, node_options
from hseie.commands import with_database
from hseie.config import Config
from hseie.dead_letters import DeadLetter
from hseie.errors import ExitCode
from hseie.readings import KIND_BY_NAME
from hseie.status import duration
from hseie.tables import print_table

T = TypeVar("T")

ids_argument = click.argument("ids", nargs=-1, type=click.IntRange(min=1), metavar="[ID]...")
all_option = click.option("--all", "everything", is_flag=True, help="All dead letters there are.")


@click.group("dead-letter")
def dead_letter() -> None:
    """Look after readings that PostgreSQL refused.

    Store them after all, or give them up. They were acknowledged, so they are kept with the reason. Once what refused
    them is gone (a constraint, a trigger), `retry` stores each where it belongs: a correction that came later is not
    undone.
    """


@dead_letter.command("list")
@node_options
@json_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Show at most so many.")
@click.option("--kind", type=click.Choice(list(KIND_BY_NAME)), help="Only of this kind.")
@click.option("--sqlstate", metavar="CODE", help="Only those refused with this SQLSTATE.")
def list_(
    file: Path | None, data: str | None, as_json: bool, limit: int, kind: str | None, sqlstate: str | None
) -> int:
    """Show dead letters, newest first."""
    found = _with_database(
        configuration(file, data), lambda connection: dead_letters.find(connection, kind, sqlstate, limit + 1)
    )
    shown, more = found[:limit], len(found) > limit
    if as_json:
        _print_json({"dead_letters": [_summary(letter) for letter in shown], "more": more})
    elif shown:
        columns = ("id", "kind", "device", "time", "age", "sqlstate", "reason")
        print_table(columns, [_cells(letter) for letter in shown], right=("id", "age"))
        if more:
            click.echo("There are more; see --limit.")
    else:
        click.echo("There are no dead letters.")
    return int(ExitCode.OK)


@dead_letter.command("show")
@node_options
@json_option
@click.argument("id_", type=click.IntRange(min=1), metavar="ID")
def show(file: Path | None, data: str | None, as_json: bool, id_: int) -> int:
    """Show everything about one dead letter. Exit code 1 when there is none of that id."""
    letter = _with_database(configuration(file, data), lambda connection: dead_letters.read(connection, id_))
    if letter is None:
        raise click.ClickException(f"there is no dead letter {id_}")
    document = {**asdict(letter), "age_s": _age_s(letter), "reading": letter.reading}
    if as_json:
        _print_json(document)
        return int(ExitCode.OK)
    reading = document.pop("reading")
    document["age_s"] = round(document["age_s"])
    for name, value in document.items():
        click.echo(f"{name:<12}  {value!r}" if name == "original" else f"{name:<12}  {value}")
    for name, value in (reading or {"reading": "the original is no line of this kind"}).items():
        click.echo(f"  {name:<14}  {value}")
    return int(ExitCode.OK)


@dead_letter.command("retry")
@node_options
@json_option
@all_option
@ids_argument
def retry(file: Path | None, data: str | None, as_json: bool, everything: bool, ids: tuple[int, ...]) -> int:
    """Try to store dead letters, oldest first, each in a transaction of its own.

    Exit code 1 when some are still refused; they stay, with the new reason.
    """
    config = configuration(file, data)
    chosen = _choose(config, ids, everything)
    refused: dict[int, str] = {}

    async def work(connection: Any) -> None:
        archive = Archive.of(config)
        try:
            for id_ in chosen:
                if reason := await dead_letters.retry(connection, id_, archive):
                    refused[id_] = reason
        finally:
            await archive.close()

    _with_database(config, work, len(chosen))
    stored = [id_ for id_ in chosen if id_ not in refused]
    if as_json:
        _print_json({"stored": stored, "refused": [{"id": id_, "reason": text} for id_, text in refused.items()]})
    else:
        for id_, reason in refused.items():
            click.echo(f"! {id_}: {reason}")
        click.echo(f"{len(stored)} stored, {len(refused)} stay dead letters.")
    return int(ExitCode.FAILURE if refused else ExitCode.OK)


@dead_letter.command("drop")
@node_options
@json_option
@all_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@ids_argument
def drop(file: Path | None, data: str | None, as_json: bool, everything: bool, yes: bool, ids: tuple[int, ...]) -> int:
    """Delete dead letters for good. Exit code 1 when some were not there.

    The books go on counting them as dead-lettered, and note that they were dropped.
    """
    config = configuration(file, data)
    chosen = _choose(config, ids, everything)
    if chosen and not yes:
        click.confirm(f"Delete {len(chosen)} acknowledged readings for good?", abort=True, err=True)
    dropped = _with_database(config, lambda connection: dead_letters.drop(connection, chosen))
    if as_json:
        _print_json({"dropped": dropped, "missing": len(chosen) - dropped})
    else:
        missing = f", {len(chosen) - dropped} were not there" if dropped < len(chosen) else ""
        click.echo(f"{dropped} dropped{missing}.")
    return int(ExitCode.OK if dropped == len(chosen) else ExitCode.FAILURE)


def _choose(config: Config, ids: Sequence[int], everything: bool) -> list[int]:
    """Return the ids that are meant, oldest first."""
    if everything == bool(ids):
        raise click.UsageError("name dead letters by their ids, or all of them by --all")
    if ids:
        return sorted(set(ids))
    found = _with_database(config, lambda connection: dead_letters.find(connection, None, None, None))
    return [letter.id for letter in reversed(found)]


def _with_database(config: Config, work: Callable[[Any], Coroutine[Any, Any, T]], steps: int = 1) -> T:
    """Do `work`, which takes so many `steps`, within the time of as many flushes. Raises what `with_database` does."""
    limits = config.postgres

    async def bounded(connection: Any) -> T:
        return await database.within(max(steps, 1) * limits.flush_timeout_ms / 1000, connection, work(connection))

    settings = {"lock_timeout": str(limits.lock_timeout_ms)}
    return with_database(config, "hseie dead-letter", bounded, settings)


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "device": letter.device,
        "timestamp": letter.timestamp or None,
        "sqlstate": letter.sqlstate,
        "reason": letter.reason,
        "created_at": letter.created_at,
        "age_s": _age_s(letter),
    }


def _cells(letter: DeadLetter) -> tuple[str, ...]:
    age = duration(_age_s(letter))
    return (str(letter.id), letter.kind, letter.device, letter.timestamp, age, letter.sqlstate, letter.reason)


def _age_s(letter: DeadLetter) -> float:
    return max(0.0, clock.unix_s() - letter.created_at.timestamp())


def _print_json(document: dict[str, Any]) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
