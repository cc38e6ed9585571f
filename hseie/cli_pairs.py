"""`hseie pairs`: which meter feeds which vehicle when, where their ids do not say it. Works with the database alone.

A module of its own beside `cli`, which imports it when the command is asked for.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from hseie import database, pair_file, pairs
from hseie.answers import rfc3339
from hseie.cli import configuration, json_option, node_options
from hseie.commands import with_database
from hseie.config import Config
from hseie.errors import ExitCode
from hseie.pair_plan import Change, Pair
from hseie.pair_request import Wanted, read_time
from hseie.pair_routes import STATES
from hseie.readings import is_device_id
from hseie.tables import print_table

T = TypeVar("T")

_IMPORT_TIMEOUT_S = 600.0  # a long file over a long time makes millions of marks
_FILE_BYTES_MAX = 64 * 1024 * 1024


class _Device(click.ParamType[str]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_device_id(value):
            self.fail(f"{value!r} is no id of a device: 1 to 50 of A-Z a-z 0-9 . _ : -", param, ctx)
        return str(value)


class _Time(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        moment = value if isinstance(value, datetime) else read_time(str(value))
        if moment is None:
            self.fail(f"{value!r} is no RFC 3339 time with an offset, like 2026-02-09T12:00:00Z", param, ctx)
        return moment


vehicle_argument = click.argument("vehicle", type=_Device())


@click.group("pairs")
def pairs_() -> None:
    """Say which meter feeds which vehicle.

    Needed where the ids do not say it: VEHICLE_7 is fed by METER_7 or by a meter of its own name unless a pairing says
    otherwise. What ends is never changed any more: a new pairing counts from its start on.
    """


@pairs_.command("list")
@node_options
@json_option
@click.option(
    "--state",
    type=click.Choice(STATES),
    default="current",
    show_default=True,
    help="Those that run, that begin later, that have ended, or all of them.",
)
@click.option("--vehicle", type=_Device(), help="Only of this vehicle.")
@click.option("--meter", type=_Device(), help="Only with this meter.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Show at most so many.")
def list_(
    file: Path | None, data: str | None, as_json: bool, state: str, vehicle: str | None, meter: str | None, limit: int
) -> int:
    """Show pairings, by vehicle and start."""
    found = _with_database(
        configuration(file, data), lambda connection: pairs.find_pairs(connection, state, vehicle, meter, limit + 1)
    )
    shown, more = found[:limit], len(found) > limit
    if as_json:
        _print_json({"pairs": [_summary(pair) for pair in shown], "more": more})
    elif shown:
        print_table(("vehicle", "meter", "from", "to"), [_cells(pair) for pair in shown])
        if more:
            click.echo("There are more; see --limit.")
    else:
        click.echo("There are no such pairings; the ids count.")
    return int(ExitCode.OK)


@pairs_.command("set")
@node_options
@json_option
@vehicle_argument
@click.argument("meter", type=_Device(), required=False)
@click.option("--nobody", is_flag=True, help="No meter feeds the vehicle, whatever its id says.")
@click.option("--from", "valid_from", type=_Time(), help="From when it counts; may lie in the past. Default: now.")
@click.option("--to", "valid_to", type=_Time(), help="Until when; after that the ids count again. Default: no end.")
def set_(
    file: Path | None,
    data: str | None,
    as_json: bool,
    vehicle: str,
    meter: str | None,
    nobody: bool,
    valid_from: datetime | None,
    valid_to: datetime | None,
) -> int:
    """Pair a vehicle with the meter that feeds it.

    Ends the pairing that ran until then, and that of another vehicle that the meter fed. Exit code 1 where it cannot
    be: a pairing that has ended, or one that begins later, is in the way.
    """
    if nobody == bool(meter):
        raise click.UsageError("name the meter, or say --nobody")
    config, wanted = configuration(file, data), Wanted(vehicle, meter, valid_from, valid_to)
    return _tell(_with_database(config, lambda connection: pairs.set_pair(connection, config, wanted)), as_json)


@pairs_.command("end")
@node_options
@json_option
@vehicle_argument
@click.option("--at", type=_Time(), help="When it ends; may lie in the past, and at its start undoes it. Default: now.")
def end(file: Path | None, data: str | None, as_json: bool, vehicle: str, at: datetime | None) -> int:
    """End the pairing of a vehicle that runs; after that the ids count. Exit code 1 when there is none."""
    config = configuration(file, data)
    return _tell(_with_database(config, lambda connection: pairs.end_pair(connection, config, vehicle, at)), as_json)


@pairs_.command("remove")
@node_options
@json_option
@vehicle_argument
@click.option("--from", "valid_from", type=_Time(), required=True, help="When it would begin.")
def remove(file: Path | None, data: str | None, as_json: bool, vehicle: str, valid_from: datetime) -> int:
    """Remove a pairing that has not begun. Exit code 1 when there is none, or when it has."""
    config = configuration(file, data)
    change = _with_database(config, lambda connection: pairs.remove_pair(connection, config, vehicle, valid_from))
    return _tell(change, as_json)


@pairs_.command("import")
@node_options
@json_option
@click.argument("source", type=click.File("rb"), metavar="FILE.csv")
def import_(file: Path | None, data: str | None, as_json: bool, source: Any) -> int:
    """Set all pairings of a CSV file, or none.

    Its first line names the columns: vehicleId,meterId,validFrom,validTo. An empty meter: nobody feeds the vehicle; an
    empty start: now; an empty end: open. Lines are taken in the order of their starts, each as by `set`. A line that is
    wrong is named, and then nothing is changed.
    """
    content: bytes = source.read(_FILE_BYTES_MAX + 1)
    if len(content) > _FILE_BYTES_MAX:
        raise click.ClickException(f"the file is larger than {_FILE_BYTES_MAX} bytes; import it in parts")
    try:
        lines = pair_file.read_file(content.decode())
    except UnicodeDecodeError as error:
        raise click.ClickException(f"the file is not UTF-8: {error}") from None
    config = configuration(file, data)
    wanted = [line.wanted for line in lines]

    async def work(connection: Any) -> int:
        return await pairs.change_pairs(connection, config, wanted, lambda plan: pair_file.apply(plan, lines))

    changed = _with_database(config, work, _IMPORT_TIMEOUT_S)
    if as_json:
        _print_json({"lines": len(lines), "changed": changed})
    else:
        click.echo(f"{changed} pairings set, {len(lines) - changed} were so already.")
    return int(ExitCode.OK)


@pairs_.command("export")
@node_options
@click.option("--state", type=click.Choice(STATES), default="all", show_default=True, help="Which of them.")
def export(file: Path | None, data: str | None, state: str) -> int:
    """Print pairings as CSV, in the form that `import` takes."""
    found = _with_database(
        configuration(file, data), lambda connection: pairs.find_pairs(connection, state, None, None, None)
    )
    click.echo(pair_file.write_file(found).encode(), nl=False)
    return int(ExitCode.OK)


def _with_database(config: Config, work: Callable[[Any], Coroutine[Any, Any, T]], timeout_s: float | None = None) -> T:
    """Do `work`, in the time of a flush or in `timeout_s`. Raises what `with_database` does."""
    limit_s = timeout_s or config.postgres.flush_timeout_ms / 1000

    async def bounded(connection: Any) -> T:
        return await database.within(limit_s, connection, work(connection))

    return with_database(config, "hseie pairs", bounded, pairs.session_settings(config))


def _tell(change: Change, as_json: bool) -> int:
    """Print what a change did."""
    if as_json:
        document = {name: [_summary(pair) for pair in found] for name, found in _also(change).items()}
        _print_json({"pair": _summary(change.pair), "changed": change.changed, **document})
        return int(ExitCode.OK)
    if not change.changed:
        click.echo(f"{_sentence(change.pair)}: it was so already.")
    elif change.pair not in (*change.ended, *change.removed):
        click.echo(f"{_sentence(change.pair)}.")
    for name, found in _also(change).items():
        for pair in found:
            click.echo(f"{name}: {_sentence(pair)}.")
    return int(ExitCode.OK)


def _also(change: Change) -> dict[str, list[Pair]]:
    return {"ended": change.ended, "removed": change.removed}


def _summary(pair: Pair) -> dict[str, str | None]:
    return {
        "vehicleId": pair.vehicle_id,
        "meterId": pair.meter_id,
        "validFrom": rfc3339(pair.valid_from),
        "validTo": rfc3339(pair.valid_to) if pair.valid_to is not None else None,
    }


def _cells(pair: Pair) -> tuple[str, ...]:
    return tuple(value if value is not None else "-" for value in _summary(pair).values())


def _sentence(pair: Pair) -> str:
    until = f" until {rfc3339(pair.valid_to)}" if pair.valid_to is not None else ""
    return f"{pair.vehicle_id} is fed by {pair.meter_id or 'nobody'} from {rfc3339(pair.valid_from)}{until}"


def _print_json(document: dict[str, Any]) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
