"""The newest state of every device of a shard.

The map decides which line of a batch goes to the current table, so that a device is written once a flush. It may
forget: the UPSERT is guarded by the timestamp as well, so a forgotten device costs one statement that changes nothing.
"""

from hseie.readings import KINDS


class StateMap:
    """Per kind, the newest time seen of each device. Times are canonical text (readings.canonical_time)."""

    def __init__(self, devices_max: int) -> None:
        self._devices_max = devices_max
        self._newest: list[dict[bytes, bytes]] = [{} for _ in KINDS]

    def __len__(self) -> int:
        """Devices known."""
        return sum(len(devices) for devices in self._newest)

    def offer(self, kind: int, lines: list[bytes], changed: dict[bytes, bytes]) -> None:
        """Take lines in the order of their arrival and put those that are the newest state into `changed`, by device.

        At equal times the later line wins: it is a correction.
        """
        if len(self) > self._devices_max:
            self.forget()
        newest = self._newest[kind]
        known = newest.get
        for line in lines:
            device, time, _ = line.split(b"\t", 2)
            before = known(device)
            if before is None and device in changed:
                before = changed[device].split(b"\t", 2)[1]  # forgotten in the middle of a batch
            if before is None or time >= before:
                newest[device] = time
                changed[device] = line

    def forget(self) -> None:
        """Begin again without knowing any device."""
        self._newest = [{} for _ in KINDS]
