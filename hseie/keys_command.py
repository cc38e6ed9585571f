"""What `hseie keys` does and prints. The key itself goes to standard output, what is said about it to standard error.

Words that name a key are never repeated, not even in an error: somebody may have pasted a whole key.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import click
import msgspec
import orjson

from hseie import clock
from hseie.access import Devices, Key, Scope
from hseie.answers import rfc3339
from hseie.config import Config
from hseie.control import ask_snapshot, is_there, run_dir_of
from hseie.errors import ExitCode, KeyRefusedError, NotReachableError
from hseie.key_store import KeyStore
from hseie.key_text import default_burst
from hseie.keys_file import ListedKey
from hseie.tables import print_table

_DEVICES_SHOWN = 3
_ASK_TIMEOUT_S = 1.0


def in_force(config: Config) -> Config:
    """Return the configuration with the keys that a running node asks for, which may have been given other settings.

    Where no node runs, or none answers, it is as it was.
    """
    run_dir = run_dir_of(config.data_dir)
    if not is_there(run_dir):
        return config
    try:
        node = asyncio.run(ask_snapshot(run_dir, _ASK_TIMEOUT_S))["node"]
    except NotReachableError:
        return config
    mode: Literal["none", "keys"] = "keys" if node.get("access") == "keys" else "none"
    auth = msgspec.structs.replace(config.auth, mode=mode, keys_file=node.get("keys_file", config.auth.keys_file))
    return msgspec.structs.replace(config, auth=auth)


@dataclass(frozen=True)
class Wanted:
    """A key to be made; the fields mean what they mean in `access.Key`."""

    name: str
    scopes: frozenset[Scope]
    devices: Devices
    readings_per_s: float
    burst_readings: int
    devices_max: int
    expires_at: float | None


def create_key(config: Config, wanted: Wanted, *, as_json: bool) -> ExitCode:
    """Make a key and print it. Raises KeysFileError and KeyRefusedError."""
    with KeyStore.open(config.keys_file, create=True) as store:
        key, text = store.create(
            wanted.name,
            wanted.scopes,
            wanted.devices,
            wanted.readings_per_s,
            wanted.burst_readings,
            wanted.devices_max,
            wanted.expires_at,
            clock.unix_s(),
        )
    if as_json:
        _print_json({"key": text, **_document(ListedKey(key, 0))})
    else:
        click.echo(f"Key {key.key_id} ({key.name}) is made. It is shown this once; only its digest is kept:", err=True)
        click.echo(text)
        click.echo("It is sent with each request as a header: Authorization: Bearer <key>", err=True)
    _warn(config)
    return ExitCode.OK


def list_keys(config: Config, *, everything: bool, as_json: bool) -> ExitCode:
    """Print the keys; those that let nobody in any more only if `everything` is asked for."""
    now = clock.unix_s()
    found: list[ListedKey] = []
    damaged: list[str] = []
    if config.keys_file.exists():
        with KeyStore.open(config.keys_file) as store:
            found, damaged = store.all_keys(), store.damaged
    shown = [listed for listed in found if everything or listed.key.is_good(now)]
    if as_json:
        _print_json({"keys": [_document(listed) for listed in shown], "damaged": damaged})
    elif shown:
        columns = ("id", "name", "scopes", "devices", "limits", "seen", "created", "expires", "revoked")
        print_table(columns, [_cells(listed) for listed in shown], right=("seen",))
    if not as_json:
        if hidden := len(found) - len(shown):
            click.echo(f"{hidden} more are revoked or expired; --all shows them.")
        elif not found:
            click.echo("There are no keys; `hseie keys create` makes one.")
        for key_id in damaged:
            click.echo(f"! key {key_id} is damaged and lets nobody in; create another, and put back a copy of the file")
    _warn(config)
    return ExitCode.FAILURE if damaged else ExitCode.OK


def revoke_keys(config: Config, chosen: Sequence[str], *, as_json: bool) -> ExitCode:
    """Revoke keys, all or none. Raises KeyRefusedError where one is not there, or its name means several."""
    with KeyStore.open(config.keys_file) as store:
        keys = list({key.key_id: key for key in map(store.find, chosen)}.values())
        store.revoke([key.key_id for key in keys], clock.unix_s())
    fresh = [key for key in keys if key.revoked_at is None]
    before = [key for key in keys if key.revoked_at is not None]
    if as_json:
        _print_json(
            {"revoked": [key.key_id for key in fresh], "revoked_before": [key.key_id for key in before]},
        )
    else:
        for key in fresh:
            click.echo(f"Key {key.key_id} ({key.name}) is revoked.")
        for key in before:
            click.echo(f"Key {key.key_id} ({key.name}) was revoked before.")
    _warn(config)
    return ExitCode.OK


def show_devices(config: Config, chosen: str, *, as_json: bool) -> ExitCode:
    """Print the devices of a key. Raises KeyRefusedError where it is not there."""
    with KeyStore.open(config.keys_file) as store:
        key = store.find(chosen)
        devices = store.devices(key.key_id)
    if as_json:
        listed = [{"device": device, "first_seen_at": _time(first)} for device, first in devices]
        _print_json({"key_id": key.key_id, "devices_max": key.devices_max or None, "devices": listed})
        return ExitCode.OK
    if not key.devices_max:
        click.echo(f"Key {key.key_id} ({key.name}) has no --devices-max, so its devices are not counted.")
        return ExitCode.OK
    if devices:
        print_table(("device", "first seen"), [(device, _minute(first)) for device, first in devices])
    click.echo(f"{len(devices)} of {key.devices_max} devices.")
    return ExitCode.OK


def forget_devices(config: Config, chosen: str, device: str | None, *, as_json: bool) -> ExitCode:
    """Forget a device of a key, or all (None). Raises KeyRefusedError where the key or the device is not there."""
    with KeyStore.open(config.keys_file) as store:
        key = store.find(chosen)
        count = store.forget(key.key_id, device)
    if device is not None and not count:
        raise KeyRefusedError(f"key {key.key_id} has not reported for that device; `hseie keys devices` shows its own")
    if as_json:
        _print_json({"key_id": key.key_id, "forgotten": count})
    else:
        click.echo(f"{count} forgotten.")
    return ExitCode.OK


def change_key(config: Config, chosen: str, changes: dict[str, Any], *, as_json: bool) -> ExitCode:
    """Give a key other limits or another end: fields of `access.Key`. A rate without a burst gets one.

    Raises KeyRefusedError where the key is not there or revoked, or would have a burst without a rate.
    """
    with KeyStore.open(config.keys_file) as store:
        key = store.find(chosen)
        changed = replace(key, **changes)
        if not changed.readings_per_s and changes.get("burst_readings"):
            raise KeyRefusedError("--burst is about --readings-per-s, which this key has not")
        if "readings_per_s" in changes and "burst_readings" not in changes:
            changed = replace(changed, burst_readings=default_burst(changed.readings_per_s))
        store.change(changed)
        listed = next(listed for listed in store.all_keys() if listed.key.key_id == key.key_id)
    if as_json:
        _print_json(_document(listed))
    else:
        until = f", until {_minute(changed.expires_at)}" if changed.expires_at is not None else ""
        click.echo(f"Key {key.key_id} ({key.name}) is changed: limits {_limits(changed)}{until}.")
    _warn(config)
    return ExitCode.OK


def remove_key(config: Config, chosen: str, *, as_json: bool) -> ExitCode:
    """Delete a key that lets nobody in. Raises KeyRefusedError where it is not there, or still does."""
    with KeyStore.open(config.keys_file) as store:
        key = store.find(chosen)
        store.remove(key.key_id, clock.unix_s())
    if as_json:
        _print_json({"removed": key.key_id})
    else:
        click.echo(f"Key {key.key_id} ({key.name}) is removed.")
    return ExitCode.OK


def _warn(config: Config) -> None:
    if config.auth.mode == "none":
        click.echo('! nobody is asked for a key at present: auth.mode is "none"', err=True)


def _document(listed: ListedKey) -> dict[str, Any]:
    key = listed.key
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "devices": sorted(key.devices.named),
        "prefixes": sorted(key.devices.prefixes),
        "readings_per_s": key.readings_per_s or None,
        "burst_readings": key.burst_readings or None,
        "devices_max": key.devices_max or None,
        "devices_seen": listed.devices_seen if key.devices_max else None,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
    }


def _cells(listed: ListedKey) -> tuple[str, ...]:
    key = listed.key
    return (
        key.key_id,
        key.name,
        ", ".join(sorted(key.scopes)),
        _devices(key.devices),
        _limits(key),
        str(listed.devices_seen) if key.devices_max else "-",
        *(_minute(at) for at in (key.created_at, key.expires_at, key.revoked_at)),
    )


def _devices(devices: Devices) -> str:
    texts = [*(f"{prefix}*" for prefix in devices.prefixes), *sorted(devices.named)]
    more = f" and {len(texts) - _DEVICES_SHOWN} more" if len(texts) > _DEVICES_SHOWN else ""
    return "all" if devices.all else ", ".join(texts[:_DEVICES_SHOWN]) + more


def _limits(key: Key) -> str:
    rate = f"{key.readings_per_s:g}/s, {key.burst_readings} at once" if key.readings_per_s else ""
    devices = f"{key.devices_max} devices" if key.devices_max else ""
    return ", ".join(filter(None, (rate, devices))) or "-"


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(datetime.fromtimestamp(at, UTC))


def _minute(at: float | None) -> str:
    return "-" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%MZ}"


def _print_json(document: dict[str, Any]) -> None:
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
