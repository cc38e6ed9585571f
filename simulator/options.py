"""The options of a run. A field here is the only declaration of an option: name, type, default, limits, help."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from simulator.http1 import Target
from simulator.schedule import DRIFT_MS

T = TypeVar("T")


def _option(default: T, text: str, **declared: Any) -> T:
    """A field with what the command line needs: ``env``, ``low``, ``high``, ``choices``, ``metavar``, ``secret``."""
    value: T = field(default=default, metadata={"help": text, **declared}, repr=not declared.get("secret"))
    return value


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the fleet behaves and how it sends. Raises ValueError when the options contradict each other."""

    url: str = _option("http://127.0.0.1:3000", "Address of the server.", env="API_URL", metavar="URL")
    ca: str | None = _option(
        None, "PEM file of the authorities to trust for https://, instead of the system's.", metavar="FILE"
    )
    certificate: str | None = _option(
        None, "PEM file of a client certificate and its key, for https://.", metavar="FILE"
    )
    key: str | None = _option(
        None, "API key; better in the environment, for others see a command line.", env="API_KEY", secret=True
    )
    devices: int = _option(100, "Number of meters, and of vehicles.", env="NUM_DEVICES", low=1, high=1_000_000)
    interval_ms: int = _option(
        60_000, "Cadence: ms between two readings of a device.", env="INTERVAL_MS", low=1, high=86_400_000
    )
    fast: bool = _option(False, "Send at full rate, on a virtual clock in the past.", env="FAST_MODE")
    duration: float | None = _option(None, "Stop after this many seconds.", low=0.0, metavar="SECONDS")
    ticks: int | None = _option(None, "Stop after this many readings of each device.", low=1)
    batch: int = _option(1, "Readings a request.", low=1, high=100_000)
    concurrency: int = _option(64, "Connections, and with that requests in flight.", low=1, high=10_000)
    seed: int = _option(3, "Same seed, options and start: same readings.")
    start: str | None = _option(None, "What the fleet takes for now, instead of the real time.", metavar="RFC3339")
    history: float = _option(24.0, "With --fast: hours before now in which the virtual clock runs.", low=0.001)
    backfill_hours: float = _option(0.0, "Send this much history in batches before live pacing.", low=0.0)
    first_device: int = _option(1, "Number of the first device.", low=1)
    faulty_share: float = _option(0.05, "Share of chargers below 85 %.", low=0.0, high=1.0)
    late_share: float = _option(0.0, "Share of readings sent late.", low=0.0, high=1.0)
    repeat_share: float = _option(0.0, "Share of readings sent twice.", low=0.0, high=1.0)
    malformed_share: float = _option(0.0, "Share of readings garbled.", low=0.0, high=1.0)
    prefer: str | None = _option(None, "The Prefer header.", choices=("wait", "respond-async"))
    timeout: float = _option(30.0, "Seconds to wait for an answer.", low=0.1)
    attempts: int = _option(8, "Attempts for a request that may be retried.", low=1, high=1000)
    wait: float = _option(10.0, "Seconds to wait for the server at the start.", low=0.0)
    ledger: str | None = _option(None, "Append every request and its outcome to this file.", metavar="FILE")
    json: str | None = _option(None, "Write the summary as JSON to this file, or - for stdout.", metavar="FILE")
    quiet: bool = _option(False, "No progress.")

    def __post_init__(self) -> None:
        self.target()
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ValueError("--key (API_KEY) is not an API key: it has spaces or other characters that no key has")
        if self.late_share + self.malformed_share > 1:
            raise ValueError("the shares of late and of malformed readings exceed 1 together")
        if self.fast and self.backfill_hours:
            raise ValueError("--backfill-hours is for live pacing; --fast sends nothing but history")
        if self.start is not None and datetime.fromisoformat(self.start).tzinfo is None:
            raise ValueError(f"--start needs an offset, such as Z: {self.start!r}")
        if self.history_ms <= DRIFT_MS:
            raise ValueError("--history is too short")

    def target(self) -> Target:
        """Where to send to. Reads the files of certificates; raises ValueError."""
        return Target.of(self.url, self.ca, self.certificate)

    def shown(self) -> dict[str, Any]:
        """All options by name, without secrets."""
        return {name.name: getattr(self, name.name) for name in fields(self) if not name.metadata.get("secret")}

    def start_ms(self, now_ms: int) -> int:
        """What the fleet takes for now, in Unix ms."""
        return now_ms if self.start is None else int(datetime.fromisoformat(self.start).timestamp() * 1000)

    @property
    def history_ms(self) -> int:
        return int(self.history * 3_600_000)
