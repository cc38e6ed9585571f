"""The log of the embedded PostgreSQL: what it said during this start, and never more than a few files of it."""

from pathlib import Path

from hseie.embedded.settings import LOG_FILES

TAIL_BYTES = 16_384


class ServerLog:
    """`startup.log`, which the server writes until it opens its own log, and the files of that log."""

    def __init__(self, folder: Path, cluster: Path) -> None:
        self.startup = folder / "startup.log"
        self._folder = cluster / "log"
        self._start = ("", 0)

    def position(self) -> tuple[str, int]:
        """The newest file and its size in bytes: it moves whenever something is written."""
        files = self._files()
        return (files[-1].name, files[-1].stat().st_size) if files else ("", 0)

    def mark_start(self) -> None:
        """Call before the server is started: what was said earlier tells nothing about this start."""
        self._start = self.position()

    def tail(self, lines: int = 25) -> str:
        """The last lines since mark_start()."""
        text = self.startup.read_bytes()[-TAIL_BYTES:]
        name, size = self.position()
        if name:
            start = self._start[1] if name == self._start[0] else 0
            with (self._folder / name).open("rb") as file:
                file.seek(max(start, size - TAIL_BYTES))
                text += file.read(TAIL_BYTES)
        return "\n".join(text.decode("utf-8", "replace").strip().split("\n")[-lines:])

    def trim(self) -> None:
        """Removes the oldest files. PostgreSQL starts a new one when one is full, and never removes any."""
        for old in self._files()[:-LOG_FILES]:
            old.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("postgresql-*.log"))  # the names are times
