"""What may change in the configuration of a running node, and how two configurations are told apart."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from hseie.config import Config, keys

# What the lock, the ports, the embedded server and the sockets of the processes hang on, all of which outlive a reload.
_FIXED = ("node.data", "http.host", "http.port", "http.analytics_port", "postgres.url")


def changed_keys(former: Config, config: Config) -> dict[str, tuple[Any, Any]]:
    """Return (former value, new value) of each key that differs, in the order of declaration.

    What says the same in other words is no change: another spelling of a path, a default that is now written out.
    """
    values = _values(config)
    return {key: (value, values[key]) for key, value in _values(former).items() if value != values[key]}


def fixed_keys(changed: Mapping[str, object]) -> list[str]:
    """Return those of the changed keys that a running node cannot change."""
    return [key for key in _FIXED if key in changed]


def fingerprint(config: Config) -> str:
    """Return a short name for the values in force, the same for the same values. The database's address, with its
    password, does not go into it: it cannot change while a node runs.
    """
    values = {key: value for key, value in _values(config).items() if key != "postgres.url"}
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()[:8]


def _values(config: Config) -> dict[str, Any]:
    meant = {"node.data": str(config.data_dir), "http.analytics_port": config.analytics_port}
    meant["auth.keys_file"] = str(config.keys_file)
    return dict(keys(config)) | meant
