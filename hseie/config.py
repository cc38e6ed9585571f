"""The configuration as the processes have it. `hseie.config_load` reads it.

A field of a Struct below is the only declaration of a key; `config/default.toml` documents each with unit and reason,
and a test holds the two together. Units stand last in the names (`_ms`, `_s`, `_bytes_max`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]

# A queue of ZeroMQ takes twice as many messages (`hseie.bus`), and signs of life need room in it.
FRAMES_IN_FLIGHT_LIMIT = 500
# A frame, one body and half a megabyte at most, has to fit into a row of SQLite (a billion bytes) with much to spare.
_BODY_BYTES_LIMIT = 268_435_456


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    data: str = "./data"
    drain_timeout_s: Seconds = 25.0


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 3000
    analytics_port: Port = 0
    acceptors: Annotated[int, msgspec.Meta(ge=1, le=256)] = 2
    body_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=_BODY_BYTES_LIMIT)] = 2_097_152
    batch_readings_max: Positive = 10_000
    bodies_bytes_max: Positive = 67_108_864
    requests_in_flight_max: Positive = 8192
    connections_max: Count = 0
    keepalive_s: Seconds = 75.0
    head_timeout_s: Seconds = 20.0
    body_timeout_s: Seconds = 30.0
    cors_origins: list[str] = msgspec.field(default_factory=list)


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    mode: Literal["none", "keys"] = "none"
    keys_file: str = ""
    open_to_network: bool = False


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    client_certificates: Literal["optional", "required"] = "required"
    client_subject: Literal["device", "any"] = "device"

    @property
    def on(self) -> bool:
        return bool(self.certificate)

    @property
    def binds_to_device(self) -> bool:
        """Whether a client's certificate says for which device it may speak."""
        return bool(self.client_ca) and self.client_subject == "device"


class Ingest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    ack: Literal["journal", "commit"] = "journal"
    ack_timeout_ms: Positive = 5000
    commit_timeout_ms: Positive = 30_000
    future_max_s: Count = 300
    past_max_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 400
    dedupe_window_s: Count = 900
    dedupe_readings_max: Positive = 1_000_000
    frames_in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=FRAMES_IN_FLIGHT_LIMIT)] = 8
    frame_bytes_max: Positive = 16_777_216


class Writer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    shards: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 2
    flush_interval_ms: Positive = 250
    flush_readings_max: Positive = 50_000
    pending_bytes_max: Positive = 67_108_864
    gathering_bytes_max: Positive = 67_108_864
    journal_bytes_max: Positive = 4_294_967_296
    # Not below 50: a quarter of the journal may be frames that the dedupe window needs, which no database takes away.
    journal_low_water_pct: Annotated[int, msgspec.Meta(ge=50, le=100)] = 90
    disk_free_bytes_min: Count = 268_435_456
    state_devices_max: Positive = 1_000_000
    dead_letters_max: Positive = 1000
    lost_journal: Literal["refuse", "replace"] = "refuse"


class Postgres(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: str = ""
    migrate: Literal["auto", "always", "never"] = "auto"
    flush_timeout_ms: Positive = 60_000
    lock_timeout_ms: Positive = 2000
    connect_timeout_ms: Positive = 5000


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    energy: Literal["interval", "register"] = "interval"
    energy_of: dict[str, Literal["interval", "register"]] = msgspec.field(default_factory=dict)
    register_power_max_kw: Annotated[float, msgspec.Meta(gt=0)] = 1000.0
    cadence_s: Positive = 60


class Analytics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    connections: Positive = 4
    statement_timeout_ms: Positive = 15_000
    audit_timeout_ms: Positive = 50_000
    correlation_window_s: Positive = 30
    vehicle_prefix: str = "VEHICLE_"
    meter_prefix: str = "METER_"
    alert_efficiency_pct: Annotated[float, msgspec.Meta(ge=0, le=100)] = 85.0
    alert_coverage_min: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    silent_cadences: Annotated[float, msgspec.Meta(ge=1)] = 3.0


class Maintenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    partitions_ahead_days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 7
    interval_s: Seconds = 300.0
    rollup_interval_s: Seconds = 5.0
    rollup_lag_s: Count = 120


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    raw_days: Count = 35
    then: Literal["archive", "drop"] = "archive"
    archive: str = ""
    archive_memory_mb: Annotated[int, msgspec.Meta(ge=64)] = 512
    hourly_days: Count = 400
    daily_days: Count = 3660


class Supervisor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    heartbeat_ms: Positive = 500
    heartbeat_timeout_ms: Positive = 15_000
    restart_delay_ms: Positive = 100
    restart_delay_max_ms: Positive = 10_000
    restart_reset_ms: Positive = 30_000


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All sections. Immutable; picklable, so that children get it as it is."""

    node: Node = Node()
    log: Log = Log()
    http: Http = Http()
    auth: Auth = Auth()
    tls: Tls = Tls()
    ingest: Ingest = Ingest()
    writer: Writer = Writer()
    postgres: Postgres = Postgres()
    device: Device = Device()
    analytics: Analytics = Analytics()
    maintenance: Maintenance = Maintenance()
    retention: Retention = Retention()
    supervisor: Supervisor = Supervisor()

    @property
    def data_dir(self) -> Path:
        return Path(self.node.data).expanduser().absolute()

    @property
    def keys_file(self) -> Path:
        """The file of the API keys, with the default resolved."""
        given = self.auth.keys_file
        return Path(given).expanduser().absolute() if given else self.data_dir / "keys.sqlite"

    @property
    def archive_dir(self) -> Path:
        """The folder of the archived days, with the default resolved."""
        given = self.retention.archive
        return Path(given).expanduser().absolute() if given else self.data_dir / "archive"

    @property
    def analytics_port(self) -> int:
        """The port of the analytics process, with the default resolved."""
        return self.http.analytics_port or self.http.port + 1


def keys(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of every setting, in the order of declaration."""
    for section in config.__struct_fields__:
        part = getattr(config, section)
        for name in part.__struct_fields__:
            yield f"{section}.{name}", getattr(part, name)


def masked(url: str) -> str:
    """Return a database address with its password hidden, for logs and people."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
