"""The command line, made from the declared options."""

from __future__ import annotations

import sys
from dataclasses import Field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

import click
import uvloop

from simulator.options import Options
from simulator.run import main


def _parameter(name: str, declared: Field[Any], hint: Any) -> click.Option:
    """One field of Options as an option of the command."""
    told = declared.metadata
    plain = next((kind for kind in get_args(hint) if kind is not NoneType), hint)
    flag = "--" + name.replace("_", "-")
    common: dict[str, Any] = {
        "default": declared.default,
        "show_default": declared.default is not None and plain is not bool,
        "help": told["help"],
        "envvar": told.get("env"),
        "show_envvar": "env" in told,
    }
    if plain is bool:
        return click.Option([name, flag], is_flag=True, **common)
    kind: Any = plain
    if "choices" in told:
        kind = click.Choice(told["choices"])
    elif "low" in told:
        ranges: dict[Any, Any] = {int: click.IntRange, float: click.FloatRange}
        kind = ranges[plain](told["low"], told.get("high"))
    return click.Option([name, flag], type=kind, metavar=told.get("metavar"), **common)


def _run(**given: Any) -> None:
    try:
        options = Options(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(uvloop.run(main(options)))


_hints = get_type_hints(Options)

simulate = click.Command(
    "simulate",
    callback=_run,
    params=[_parameter(declared.name, declared, _hints[declared.name]) for declared in fields(Options)],
    help="A fleet of meters and vehicles, as a client of a node.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
