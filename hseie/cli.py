"""The command line: `hseie <command>`. The only place that reads argv and the environment.

What a command does stands in a module of its own, imported when the command runs, so that `hseie --help` is quick. A
node is found by the same `--data` or `--config` that started it. HseieError ends a command with one line on standard
error and the error's exit code.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from hseie import __version__
from hseie.config import Config
from hseie.config_load import Loaded, load
from hseie.errors import ExitCode, HseieError

F = TypeVar("F", bound=Callable[..., Any])

_INTERRUPTED = 130  # as shells report an end by Ctrl-C


# Commands with a module of their own, which is imported when the command is asked for.
_ELSEWHERE = {
    "archive": ("hseie.cli_archive", "archive"),
    "dead-letter": ("hseie.cli_dead_letter", "dead_letter"),
    "journal": ("hseie.cli_journal", "journal"),
    "keys": ("hseie.cli_keys", "keys"),
    "pairs": ("hseie.cli_pairs", "pairs_"),
    "simulate": ("simulator.cli", "simulate"),
}


class _Commands(click.Group):
    """The group of all commands."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = _ELSEWHERE[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="hseie %(version)s")
def hseie() -> None:
    """HSEIE takes readings of smart meters and electric vehicles and keeps every one of them.

    Try it: `hseie demo`. Run it: `hseie up`. Look after it: `hseie status`, `hseie audit`.
    """


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; errors become one line on standard error."""
    try:
        result = hseie.main(list(arguments), prog_name="hseie", standalone_mode=False)
    except HseieError as error:
        click.echo(f"hseie: {error}", err=True)
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE if isinstance(error, click.UsageError) else ExitCode.FAILURE)
    except click.Abort:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`hseie status | head`): nobody is left to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)
    return result if isinstance(result, int) else int(ExitCode.OK)


# --- options that commands share --------------------------------------------------------------------------------------


def node_options(command: F) -> F:
    """Add --config and --data, which name a node."""
    command = click.option(
        "--data", metavar="DIR", help="Data folder of the node (node.data). Default: ./data, or what the file says."
    )(command)
    return click.option(
        "--config",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="HSEIE_CONFIG",
        metavar="FILE",
        help="Configuration file (TOML). Every key has a default.",
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
port_option = click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the acceptors (http.port); analytics takes the next one."
)


def loaded(file: Path | None, data: str | None, port: int | None = None, **more: Any) -> Loaded:
    """Read the configuration as the node that is meant reads it. Raises ConfigError."""
    given = {"node.data": data, "http.port": port, **more}
    return load(file, os.environ, {key: value for key, value in given.items() if value is not None})


def configuration(file: Path | None, data: str | None) -> Config:
    return loaded(file, data).config


# --- running a node ---------------------------------------------------------------------------------------------------


@hseie.command()
@node_options
@port_option
def up(file: Path | None, data: str | None, port: int | None) -> int:
    """Run a node in the foreground until SIGTERM or Ctrl-C.

    Prints one line with `ready` and its address on standard output once all processes are ready; logs go to standard
    error. With no `postgres.url` configured, an embedded PostgreSQL under the data folder is started as well. SIGHUP,
    like `hseie reload`, has it read its configuration again.
    """
    from hseie.node import ready_line, run_node

    def read() -> Config:
        return loaded(file, data, port).config

    config = read()
    ending = run_node(config, lambda _: click.echo(ready_line(config)), read_again=read)
    if ending.reason:
        click.echo(f"hseie: {ending.reason}", err=True)
    return int(ending.exit_code)


@hseie.command()
@node_options
@port_option
@click.option(
    "--devices",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    envvar="NUM_DEVICES",
    show_default=True,
    show_envvar=True,
    help="Number of meters, and of vehicles.",
)
def demo(file: Path | None, data: str | None, port: int | None, devices: int) -> int:
    """Run a node and a simulated fleet until Ctrl-C.

    Shows live rates.
    """
    from hseie.demo import run_demo

    return int(run_demo(loaded(file, data, port), devices))


# --- looking after it -------------------------------------------------------------------------------------------------


@hseie.command()
@node_options
@json_option
def status(file: Path | None, data: str | None, as_json: bool) -> int:
    """Show how a running node is.

    Its processes, what is wrong and what to do about it.
    Exit code 0 when the node is ready, 1 when something is wrong, 69 when no node answers.
    """
    from hseie.status import show_status

    return int(show_status(configuration(file, data), as_json=as_json))


@hseie.command()
@node_options
@json_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the end of the reload; it goes on after that.",
)
def reload(file: Path | None, data: str | None, as_json: bool, timeout_s: float) -> int:
    """Have a running node read its configuration again.

    Its processes are replaced one by one. The node reads the file and the environment it was started with. Devices
    notice nothing but 503s to be repeated. Exit code 0 when all processes obey the new configuration; 78 when it was
    refused and nothing changed; 75 when it is not the time for it; 1 when a process does not come up with it, or it
    takes longer; 69 when no node answers.
    """
    from hseie.commands import run_reload

    return int(run_reload(configuration(file, data), timeout_s, as_json=as_json))


@hseie.command()
@node_options
@json_option
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    help="Read history of the last so many UTC days only. Default: all of it, once.",
)
def audit(file: Path | None, data: str | None, as_json: bool, days: int | None) -> int:
    """Prove the books: nothing is lost, nothing is twice.

    Journals, checkpoints, books, history by day, dead letters and current states are laid beside each other.
    Works while the node runs, and without it. Exit code 0 when the books balance, 1 when not, 69 when PostgreSQL does
    not answer, 78 when its tables are not as expected.
    """
    from hseie.commands import show_audit

    return int(show_audit(configuration(file, data), days, as_json=as_json))


@hseie.command()
@node_options
@click.option("--check", "check_only", is_flag=True, help="Change nothing; exit code 1 when migrations are pending.")
def migrate(file: Path | None, data: str | None, check_only: bool) -> int:
    """Apply the pending migrations to the database."""
    from hseie.commands import run_migrate

    return int(run_migrate(configuration(file, data), check_only=check_only))


@hseie.group()
def config() -> None:
    """Look at the configuration."""


@config.command("show")
@node_options
@json_option
@click.option("--secrets", is_flag=True, help="Show passwords in the table too.")
def config_show(file: Path | None, data: str | None, as_json: bool, secrets: bool) -> int:
    """Show each value in force and where it came from.

    Passwords are hidden in the table. --json shows them: it is made for programs that want to connect.
    """
    from hseie.commands import show_config

    return int(show_config(loaded(file, data), as_json=as_json, secrets=secrets))


@hseie.command(context_settings={"ignore_unknown_options": True})
@node_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(file: Path | None, data: str | None, arguments: tuple[str, ...]) -> None:
    """Open psql on the node's database.

    What follows goes to psql, for example -c "SELECT 1".
    """
    from hseie.commands import run_psql

    run_psql(configuration(file, data), arguments)
