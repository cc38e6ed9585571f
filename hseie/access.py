"""Who may do what: scopes, API keys as the processes know them, and which devices somebody may speak for. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Scope = Literal["ingest", "read", "admin"]
"""What a route asks for: to send readings, to ask about them, to ask what costs much or shows everything."""

SCOPES: tuple[Scope, ...] = ("ingest", "read", "admin")

NOT_ALLOWED = "device_not_allowed"
OVER_QUOTA = "device_quota"

Admits = Callable[[str], str | None]
"""Asked for the device of a reading that is otherwise good, at most once a reading: None, or the code of why nothing of
this device is taken (one of these two)."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices somebody may speak for: those named and those whose id begins with one of `prefixes`, or `all`.

    None without any of these: whatever loses a list must not gain the fleet.
    """

    named: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    all: bool = False

    @property
    def is_sound(self) -> bool:
        """Tell whether it is all or some, not both and not neither."""
        return self.all != bool(self.named or self.prefixes)

    def hold(self, device: str) -> bool:
        return self.all or device in self.named or device.startswith(self.prefixes)


ALL_DEVICES = Devices(all=True)


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret. Times are Unix seconds; a limit of 0 is none."""

    key_id: str  # public: it stands at the start of the key, and in lists and logs
    name: str  # what the operator calls it
    digest: bytes  # SHA-256 of the secret part; that has 256 random bits, so nothing slower is needed
    scopes: frozenset[Scope]
    devices: Devices
    readings_per_s: float  # in the long run; a query counts as one
    burst_readings: int  # what may come at once after a pause
    devices_max: int  # different devices it may ever report for
    place: int  # its row in the counters that the processes share
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def may(self, scope: Scope) -> bool:
        """Tell whether the key has a scope; `admin` includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def is_good(self, now: float) -> bool:
        """Tell whether the key is neither revoked nor expired at `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
