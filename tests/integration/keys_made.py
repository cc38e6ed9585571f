"""API keys as tests make them, and who stands at the door with them."""

import time
from pathlib import Path
from typing import Any

from hseie.access import ALL_DEVICES, Devices, Key
from hseie.admission import Doorman
from hseie.key_store import KeyStore
from hseie.keys import DeviceRegistry, KeyRing
from hseie.rates import Rates
from hseie.shared_counters import SharedCounters


class Keys:
    """A file of keys in a folder, and the door that they open."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.sqlite"
        self.store = KeyStore.open(self.file, create=True)
        self._counters = SharedCounters(folder)
        self.doorman = Doorman(KeyRing(self.file), DeviceRegistry(self.file), Rates(self._counters))

    def make(self, *scopes: Any, devices: Devices | None = None, **limits: Any) -> tuple[Key, dict[str, str]]:
        """A new key that the door knows already, and the header that shows it."""
        usual: dict[str, Any] = {"readings_per_s": 0.0, "burst_readings": 0, "devices_max": 0, "expires_at": None}
        key, text = self.store.create("tests", scopes, devices or ALL_DEVICES, now=time.time(), **(usual | limits))
        assert self.doorman.ring.refresh()
        return key, {"Authorization": f"Bearer {text}"}

    def close(self) -> None:
        self.store.close()
        self.doorman.ring.close()
        self.doorman.registry.close()
        self._counters.close()
