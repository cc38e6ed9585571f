"""Reading the configuration: one TOML file, the environment above it, the command line above that."""

import difflib
import os
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from hseie.config import Config
from hseie.config_sources import Value, values
from hseie.errors import ConfigError
from hseie.readings import ID_PATTERN, KINDS
from hseie.registers import OF_KIND

# In the one form that browsers send.
_ORIGIN = re.compile(r"https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")

_DEVICES = re.compile(f"{ID_PATTERN[:-1]}\\*?$|^\\*$")


@dataclass(frozen=True)
class Loaded:
    """A configuration and, per dotted key, where its value came from."""

    config: Config
    origins: dict[str, str]


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read the configuration; later sources win: defaults, `file`, `environ`, `overrides` (dotted key to value).

    Raises ConfigError that names every wrong key, what is wrong with it and, for an unknown one, the nearest known.
    """
    types = _key_types()
    sections: dict[str, dict[str, Any]] = {}
    origins = dict.fromkeys(types, "default")
    mistakes = []
    for item in values(file, environ or {}, overrides or {}, types):
        if item.key not in types:
            mistakes.append(_unknown(item, types))
            continue
        section, name = item.key.split(".", 1)
        try:
            converted = _convert(item.value, types[item.key])
        except msgspec.ValidationError as error:
            mistakes.append(f"{item.key} ({item.origin}): {str(error)[:1].lower()}{str(error)[1:]}")
            continue
        sections.setdefault(section, {})[name] = converted
        origins[item.key] = item.origin
    _refuse(mistakes)
    config = msgspec.convert(sections, Config)
    _refuse(_broken_relations(config))
    return Loaded(config, origins)


def _key_types() -> dict[str, Any]:
    return {
        f"{section.name}.{field.name}": field.type
        for section in msgspec.structs.fields(Config)
        for field in msgspec.structs.fields(section.type)
    }


def _convert(value: Any, wanted: Any) -> Any:
    """Return a value of the wanted type; texts stand for numbers, with commas for lists, and with = for tables."""
    if isinstance(value, str) and typing.get_origin(wanted) is dict:
        value = dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())
    if isinstance(value, str) and typing.get_origin(wanted) is list:
        value = [part.strip() for part in value.split(",") if part.strip()]
    return msgspec.convert(value, wanted, strict=not isinstance(value, str))


def _unknown(item: Value, types: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(item.key, types, n=1, cutoff=0.6)
    advice = f"did you mean {close[0]}?" if close else "`hseie config show` lists all keys"
    return f"unknown key {item.key} ({item.origin}); {advice}"


def _refuse(mistakes: list[str]) -> None:
    if mistakes:
        raise ConfigError("\n  ".join(mistakes if len(mistakes) == 1 else ["the configuration is wrong:", *mistakes]))


def _broken_relations(config: Config) -> list[str]:
    """Return what is wrong with values that are each possible but not together."""
    relations = (
        (
            config.supervisor.heartbeat_timeout_ms >= 4 * config.supervisor.heartbeat_ms,
            "supervisor.heartbeat_timeout_ms must be at least four times supervisor.heartbeat_ms, "
            "or one late heartbeat kills a healthy process",
        ),
        (
            config.supervisor.restart_delay_max_ms >= config.supervisor.restart_delay_ms,
            "supervisor.restart_delay_max_ms must not be below supervisor.restart_delay_ms",
        ),
        (
            config.writer.journal_bytes_max >= 16 * config.http.body_bytes_max,
            "writer.journal_bytes_max must be at least sixteen times http.body_bytes_max",
        ),
        (
            config.ingest.frame_bytes_max >= config.http.body_bytes_max,
            "ingest.frame_bytes_max must not be below http.body_bytes_max, or the largest body could never be sent on",
        ),
        (
            config.http.bodies_bytes_max >= config.http.body_bytes_max,
            "http.bodies_bytes_max must not be below http.body_bytes_max, or the largest body could never be received",
        ),
        (
            config.writer.gathering_bytes_max >= config.ingest.frame_bytes_max,
            "writer.gathering_bytes_max must not be below ingest.frame_bytes_max: one acceptor may have so much under "
            "way to a writer",
        ),
        (
            config.ingest.commit_timeout_ms > config.writer.flush_interval_ms,
            "ingest.commit_timeout_ms must be above writer.flush_interval_ms, or every wait for a commit fails",
        ),
        (
            _keeps(config.retention.hourly_days, config.ingest.past_max_days),
            "retention.hourly_days must not be below ingest.past_max_days: so far back questions may reach",
        ),
        (
            _keeps(config.retention.daily_days, config.retention.hourly_days or config.ingest.past_max_days),
            "retention.daily_days must not be below retention.hourly_days",
        ),
        (
            not _is_ours(config.archive_dir, config.data_dir),
            "retention.archive must be a folder of its own: not node.data itself, and not journal or postgres there",
        ),
        *_relations_of_addresses(config),
    )
    return [message for holds, message in relations if not holds] + _mistaken_devices(config.device.energy_of)


def _relations_of_addresses(config: Config) -> tuple[tuple[bool, str], ...]:
    return (
        (
            config.analytics_port != config.http.port and config.analytics_port <= 65535,
            "http.analytics_port (by default the one after http.port) must be a port of its own, up to 65535",
        ),
        (
            bool(config.tls.certificate) == bool(config.tls.key),
            "tls.certificate and tls.key belong together: give both files, or neither",
        ),
        (
            bool(config.tls.certificate) or not config.tls.client_ca,
            "tls.client_ca needs tls.certificate and tls.key: without TLS no client could show a certificate",
        ),
        (
            all(map(_is_origin, config.http.cors_origins)),
            "http.cors_origins must hold exact origins like https://fleet.example or http://localhost:8080: scheme and "
            "host in small letters, a port only where it is not the usual one, no path, no *",
        ),
        (
            not config.postgres.url or urlsplit(config.postgres.url).scheme in ("postgresql", "postgres"),
            "postgres.url must be like postgresql://user:password@host:5432/database",
        ),
    )


def _mistaken_devices(keys: Iterable[str]) -> list[str]:
    """Return what is wrong with keys that name devices, by one kind or both."""
    kinds = " or ".join(kind.name + OF_KIND for kind in KINDS)
    mistakes = []
    for key in keys:
        named, of_kind, devices = key.rpartition(OF_KIND)
        if of_kind and named not in [kind.name for kind in KINDS]:
            mistakes.append(
                f"device.energy_of: {key!r} names no kind that there is; before an id or prefix may stand {kinds}, or "
                "nothing, for both"
            )
        elif not _DEVICES.fullmatch(devices):
            mistakes.append(
                f"device.energy_of: {key!r} must name devices by their id, or by what it begins with and *, like "
                "METER_B* or meter/B*"
            )
    return mistakes


def _keeps(days: int, wanted: int) -> bool:
    return days == 0 or days >= wanted


def _is_ours(folder: Path, data: Path) -> bool:
    folder, data = Path(os.path.normpath(folder)), Path(os.path.normpath(data))
    return folder == data or any(folder.is_relative_to(data / name) for name in ("journal", "postgres"))


def _is_origin(text: str) -> bool:
    default_port = ":443" if text.startswith("https:") else ":80"
    return _ORIGIN.fullmatch(text) is not None and not text.endswith(default_port)
