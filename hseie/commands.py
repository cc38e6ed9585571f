"""The commands about a node's database and configuration: audit, migrate, config show, reload, psql."""

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import click
import orjson

from hseie import clock, database, migrations
from hseie.audit import audit, first_day, journals_of
from hseie.books import Audit
from hseie.config import Config, keys, masked
from hseie.config_load import Loaded
from hseie.control import ask_reload, ask_snapshot, run_dir_of
from hseie.embedded.server import find_binaries, read_url
from hseie.errors import DatabaseUnavailableError, ExitCode, MigrationError, NotReachableError
from hseie.tables import print_table

T = TypeVar("T")

_FIND_TIMEOUT_S = 3.0
_UNDEFINED = ("42P01", "42703", "42883")  # table, column, function
_NOTHING: dict[str, list[str]] = {"changed": [], "replaced": [], "warnings": []}
_WORDS = {"refused": "was refused, nothing has changed", "failed": "failed", "unfinished": "has not ended"}


def database_url(config: Config) -> str:
    """Return the address of the node's database: the configured one, or that of its embedded server.

    Raises NotReachableError before the first start of an embedded server.
    """
    url = config.postgres.url or read_url(config.data_dir / "postgres")
    if url is None:
        raise NotReachableError(
            f"no database yet: postgres.url is empty and {config.data_dir} has no embedded PostgreSQL; run `hseie up`"
        )
    return url


def with_database(
    config: Config,
    name: str,
    work: Callable[[Any], Coroutine[Any, Any, T]],
    settings: Mapping[str, str] | None = None,
) -> T:
    """Do `work` of the command `name` with a connection to the node's database; `settings` are those of its session.

    Raises NotReachableError, DatabaseUnavailableError, also for a connection that is lost on the way, and
    MigrationError where the database lacks a table or a column. No command ends with 1 because of its database.
    """
    url = database_url(config)
    try:
        return asyncio.run(database.with_connection(url, name, work, settings=settings))
    except DatabaseUnavailableError:
        raise
    except database.DATABASE_ERRORS as error:
        if getattr(error, "sqlstate", None) in _UNDEFINED:
            raise MigrationError(f"the tables are not as expected ({error}): run `hseie migrate`") from error
        raise DatabaseUnavailableError(f"PostgreSQL: {error or 'no answer'}; what was done until then stays") from error


def show_audit(config: Config, days: int | None, *, as_json: bool) -> ExitCode:
    """Audit the books and print the outcome; of history the last `days` UTC days, None: all of it.

    Raises what `with_database` does.
    """

    async def work(connection: Any) -> Audit:
        return await audit(connection, journals_of(config), first_day(days, clock.utc_now()))

    outcome = with_database(config, "hseie audit", work)
    if as_json:
        click.echo(orjson.dumps(outcome.as_dict(), option=orjson.OPT_INDENT_2))
    else:
        _print_audit(outcome)
    return ExitCode.OK if outcome.balanced else ExitCode.FAILURE


def _print_audit(outcome: Audit) -> None:
    columns = (
        "kind",
        "received",
        "stored",
        "duplicates",
        "dead-lettered",
        "in flight",
        "rows in history",
        "archived",
        "devices",
    )
    rows = [
        (
            name,
            *(str(count) for count in (kind.received, kind.stored, kind.duplicates, kind.dead_lettered)),
            "unknown" if kind.in_flight is None else str(kind.in_flight),
            str(kind.tables.history),
            str(kind.archived),
            str(kind.tables.devices),
        )
        for name, kind in outcome.kinds.items()
    ]
    print_table(columns, rows, right=columns[1:])
    for note in outcome.notes:
        click.echo(f"- {note}")
    for difference in outcome.differences:
        click.echo(f"! {difference}")
    click.echo("The books balance." if outcome.balanced else "The books do NOT balance.")


def run_migrate(config: Config, *, check_only: bool) -> ExitCode:
    """Apply or only name the pending migrations. Raises MigrationError, and what `with_database` does."""
    work = migrations.check if check_only else migrations.migrate
    found = with_database(config, "hseie migrate", work)
    for migration in found:
        click.echo(f"{'pending' if check_only else 'applied'}: {migration.name}")
    if not found:
        click.echo("The schema is up to date.")
    return ExitCode.FAILURE if check_only and found else ExitCode.OK


def show_config(loaded: Loaded, *, as_json: bool, secrets: bool) -> ExitCode:
    """Print every key with its value and origin. The address of an embedded server is shown as it really is."""
    shown = {key: (value, loaded.origins[key]) for key, value in keys(loaded.config)}
    if not loaded.config.postgres.url and (url := read_url(loaded.config.data_dir / "postgres")):
        shown["postgres.url"] = (url, "embedded")
    if as_json:
        document = {key: {"value": value, "origin": origin} for key, (value, origin) in shown.items()}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return ExitCode.OK
    rows = []
    for key, (value, origin) in shown.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        rows.append((key, masked(text) if key == "postgres.url" and not secrets else text, origin))
    print_table(("key", "value", "origin"), rows)
    return ExitCode.OK


def run_reload(config: Config, timeout_s: float, *, as_json: bool) -> ExitCode:
    """Reload the node, print how that ended and return the exit code for it. Raises NotReachableError."""
    answer = asyncio.run(_reload(config, timeout_s))
    code = ExitCode(answer.pop("exit_code"))
    answer.pop("id", None)
    if as_json:
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    elif code is ExitCode.OK:
        click.echo(f"changed: {', '.join(answer['changed']) or 'nothing'}")
        click.echo(f"replaced: {', '.join(answer['replaced'])}")
        for warning in answer.get("warnings", []):  # an older node says none
            click.echo(f"warning: {warning}", err=True)
    else:
        click.echo(f"hseie: the reload {_WORDS[answer['outcome']]}: {answer['reason']}", err=True)
    return code


async def _reload(config: Config, timeout_s: float) -> dict[str, Any]:
    run_dir = run_dir_of(config.data_dir)
    await ask_snapshot(run_dir, _FIND_TIMEOUT_S)
    try:
        return await ask_reload(run_dir, timeout_s)
    except TimeoutError:
        reason = f"not over after {timeout_s:g} s; it goes on, `hseie status` tells how far it is"
        return {"outcome": "unfinished", "exit_code": ExitCode.FAILURE, "reason": reason, **_NOTHING}


def run_psql(config: Config, arguments: Sequence[str]) -> None:
    """Become psql on the node's database; does not return. The password goes by the environment, where `ps` is blind.

    Raises EmbeddedPostgresError where there is no psql to be found.
    """
    program = shutil.which("psql") or str(find_binaries(os.environ).bindir / "psql")
    url, password = without_password(database_url(config))
    environ: Mapping[str, str] = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    os.execve(program, ["psql", url, *arguments], environ)  # noqa: S606  # no shell is what is wanted


def without_password(url: str) -> tuple[str, str]:
    """Split a database address into the same without its password, and the password, decoded."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, ""
    user, _, place = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=f"{user.split(':', 1)[0]}@{place}")
    return urlunsplit(bare), unquote(parts.password)
