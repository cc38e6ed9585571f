"""The newest committed state of every device of a shard.

The map keeps late readings away from the current table, so that a device is written there once a flush, and only with
something newer. It may forget: the UPSERT is guarded by the timestamp as well, so a forgotten device costs one row of a
statement that changes nothing.
"""

from hseie.readings import KINDS
from hseie.writer.batch import Batch


class StateMap:
    """Per kind, the newest time in the current table of each device. Times are canonical text."""

    def __init__(self, devices_max: int) -> None:
        self._devices_max = devices_max
        self._newest: list[dict[bytes, bytes]] = [{} for _ in KINDS]

    def __len__(self) -> int:
        """Devices known."""
        return sum(len(devices) for devices in self._newest)

    def leave_out_older(self, batch: Batch) -> None:
        """Take out of a batch the changes that are older than what is committed. At equal times a change stays: it is
        a correction.
        """
        for devices, kind in zip(self._newest, batch.kinds, strict=True):
            late = [device for device, time in kind.newest.items() if time < devices.get(device, b"")]
            for device in late:
                del kind.newest[device], kind.changed[device]

    def learn(self, batch: Batch) -> None:
        """Note the states of a batch that was committed whole."""
        if len(self) > self._devices_max:
            self._newest = [{} for _ in KINDS]
        for devices, kind in zip(self._newest, batch.kinds, strict=True):
            devices.update(kind.newest)
