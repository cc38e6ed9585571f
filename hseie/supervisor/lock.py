"""One node a data folder: a lock the kernel gives back when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from hseie.errors import ConfigError, InstanceLockedError

LOCK_FILE = "node.lock"


class InstanceLock:
    """Held from `acquire` to `release`, or to the end of the process. Children do not inherit it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, data: Path) -> "InstanceLock":
        """Take the lock of the data folder, making the folder if need be.

        Raises InstanceLockedError when another node runs on it, ConfigError when the folder cannot be used.
        """
        try:
            # Whatever the umask: nobody else may put another file of keys there.
            data.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(
                f"cannot use the data folder {data}: {error.strerror}; choose another node.data"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise InstanceLockedError(f"another node (pid {holder or 'unknown'}) runs on {data}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two nodes lock two files of one name."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
