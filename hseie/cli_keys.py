"""`hseie keys`: API keys for devices, dashboards and operators. Works with the node running or not, and without
PostgreSQL.

A module of its own beside `cli`, which imports it when the command is asked for.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hseie import clock, keys_command
from hseie.access import SCOPES, Devices
from hseie.cli import configuration, json_option, node_options
from hseie.config import Config
from hseie.key_text import DEVICES_COUNTED_MAX, default_burst, devices_mistake, expiry, name_mistake
from hseie.keys_command import Wanted

_RATE_MAX = 1e9

key_argument = click.argument("key", metavar="ID|NAME")


def _in_force(file: Path | None, data: str | None) -> Config:
    return keys_command.in_force(configuration(file, data))


def _unless(mistake: Callable[[Any], str]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that refuses a value of which `mistake` says what is wrong with it."""

    def check(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        if text := mistake(value):
            raise click.BadParameter(text)
        return value

    return check


def _end(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    return None if value is None else _expires_at(value)


def _expires_at(value: str) -> float:
    try:
        return expiry(value, clock.unix_s())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def keys() -> None:
    """Make API keys, look at them and take them back.

    A node asks for them when auth.mode is "keys"; a running one notices every change here within a second or two.
    """


@keys.command("create")
@node_options
@json_option
@click.argument("name", callback=_unless(name_mistake))
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it may: send readings, ask about them, or everything. Several times for several.",
)
@click.option(
    "--device",
    "named",
    multiple=True,
    metavar="ID",
    callback=_unless(lambda ids: devices_mistake(frozenset(ids), ())),
    help="Only for this device; several times for several. Default: for all.",
)
@click.option(
    "--prefix",
    "prefixes",
    multiple=True,
    metavar="TEXT",
    callback=_unless(lambda texts: devices_mistake(frozenset(), texts)),
    help="Only for devices whose id begins so; several times for several.",
)
@click.option(
    "--readings-per-s",
    type=click.FloatRange(0, _RATE_MAX, min_open=True),
    default=None,
    metavar="RATE",
    callback=_unless(lambda rate: "" if rate is None or math.isfinite(rate) else "that is no rate"),
    help="Readings per second in the long run; a query counts as one. Default: no limit.",
)
@click.option(
    "--burst",
    "burst_readings",
    type=click.IntRange(1, 2**53),
    metavar="READINGS",
    help="What may come at once after a pause. Default: ten seconds of the rate, and at least a thousand.",
)
@click.option(
    "--devices-max",
    type=click.IntRange(1, DEVICES_COUNTED_MAX),
    metavar="N",
    help="How many different devices it may ever report for. Default: no limit.",
)
@click.option(
    "--expires",
    "expires_at",
    callback=_end,
    metavar="TIME",
    help="90d, 12h, or an RFC 3339 time. Default: never.",
)
def create(
    file: Path | None,
    data: str | None,
    as_json: bool,
    name: str,
    scopes: tuple[Any, ...],
    named: tuple[str, ...],
    prefixes: tuple[str, ...],
    readings_per_s: float | None,
    burst_readings: int | None,
    devices_max: int | None,
    expires_at: float | None,
) -> int:
    """Make a key, and print it this once: nobody can tell it again."""
    if burst_readings and not readings_per_s:
        raise click.UsageError("--burst is about --readings-per-s, which is missing")
    rate = readings_per_s or 0.0
    wanted = Wanted(
        name=name,
        scopes=frozenset(scopes),
        devices=Devices(frozenset(named), tuple(sorted(set(prefixes))), all=not named and not prefixes),
        readings_per_s=rate,
        burst_readings=burst_readings or default_burst(rate),
        devices_max=devices_max or 0,
        expires_at=expires_at,
    )
    return int(keys_command.create_key(_in_force(file, data), wanted, as_json=as_json))


@keys.command("change")
@node_options
@json_option
@key_argument
@click.option(
    "--readings-per-s",
    type=click.FloatRange(0, _RATE_MAX),
    metavar="RATE",
    callback=_unless(lambda rate: "" if rate is None or math.isfinite(rate) else "that is no rate"),
    help="Readings per second in the long run; 0: no limit.",
)
@click.option(
    "--burst",
    "burst_readings",
    type=click.IntRange(1, 2**53),
    metavar="READINGS",
    help="What may come at once after a pause. Default with another rate: as with create.",
)
@click.option(
    "--devices-max",
    type=click.IntRange(0, DEVICES_COUNTED_MAX),
    metavar="N",
    help="How many different devices it may ever report for; 0: no limit. Those it has reported for keep their places.",
)
@click.option("--expires", metavar="TIME", help="90d, 12h, an RFC 3339 time, or never.")
def change(
    file: Path | None,
    data: str | None,
    as_json: bool,
    key: str,
    expires: str | None,
    **limits: float | None,
) -> int:
    """Give a key other limits, or another end; what is not named stays. Its holder notices nothing else."""
    changes: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    if expires is not None:
        never = expires == "never"
        changes["expires_at"] = None if never else _expires_at(expires)
    if not changes:
        raise click.UsageError("nothing to change: give --readings-per-s, --burst, --devices-max or --expires")
    return int(keys_command.change_key(_in_force(file, data), key, changes, as_json=as_json))


@keys.command("list")
@node_options
@json_option
@click.option("--all", "everything", is_flag=True, help="Also those that are revoked or expired.")
def list_(file: Path | None, data: str | None, as_json: bool, everything: bool) -> int:
    """Show the keys that let somebody in, the oldest first; never their secrets.

    Exit code 1 when the file holds keys that are damaged; those let nobody in.
    """
    return int(keys_command.list_keys(_in_force(file, data), everything=everything, as_json=as_json))


@keys.command("revoke")
@node_options
@json_option
@click.argument("chosen", nargs=-1, required=True, metavar="ID|NAME...")
def revoke(file: Path | None, data: str | None, as_json: bool, chosen: tuple[str, ...]) -> int:
    """Take keys back for good; all of those named, or none when one of them is not there.

    A key is named by its id, or by its name where no other has it. A whole key will do too; it is not repeated.
    """
    return int(keys_command.revoke_keys(_in_force(file, data), chosen, as_json=as_json))


@keys.command("devices")
@node_options
@json_option
@key_argument
@click.option("--forget", metavar="DEVICE", help="Forget this device, so that another may take its place.")
@click.option("--forget-all", is_flag=True, help="Forget all its devices.")
def devices(file: Path | None, data: str | None, as_json: bool, key: str, forget: str | None, forget_all: bool) -> int:
    """Show the devices that a key with --devices-max has reported for, or forget some.

    A device that is forgotten and reports again takes a place again.
    """
    if forget is not None and forget_all:
        raise click.UsageError("--forget is about one device, --forget-all about all; give one of them")
    config = _in_force(file, data)
    if forget is None and not forget_all:
        return int(keys_command.show_devices(config, key, as_json=as_json))
    return int(keys_command.forget_devices(config, key, forget, as_json=as_json))


@keys.command("remove")
@node_options
@json_option
@key_argument
def remove(file: Path | None, data: str | None, as_json: bool, key: str) -> int:
    """Delete a key that is revoked or expired, with its devices, so that no list shows it any more."""
    return int(keys_command.remove_key(_in_force(file, data), key, as_json=as_json))
