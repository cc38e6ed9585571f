"""What time it is: the only place that asks the wall clock. Whatever measures a span uses the monotonic clock instead,
and where the span outlives a process, `moment` and `span_s`.

Tests set the wall clock of a whole node with HSEIE_CLOCK_FILE=<file>, which holds seconds to add and may change while
the node runs, as when somebody corrects the machine's clock.
"""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

VARIABLE = "HSEIE_CLOCK_FILE"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_offset_file: Path | None = None


def unix_s() -> float:
    """Return seconds since 1970."""
    return time.time() if _offset_file is None else time.time() + _offset_s(_offset_file)


def utc_now() -> datetime:
    """Return the moment as an aware datetime in UTC."""
    return datetime.fromtimestamp(unix_s(), UTC)


def moment() -> str:
    """Return this moment as a text that a later process can measure from: Unix seconds, uptime and boot id."""
    return f"{unix_s()} {time.clock_gettime(time.CLOCK_BOOTTIME)} {_boot_id()}"


def span_s(earlier: str, later: str) -> float:
    """Return the seconds between two texts of `moment`.

    By the uptime of the machine, which nobody sets; only where it was started anew meanwhile, by the wall clock. So too
    where the earlier text is of an earlier version, which noted Unix seconds alone.
    """
    earlier_unix, *earlier_life = earlier.split(" ")
    later_unix, *later_life = later.split(" ")
    if earlier_life[1:] == later_life[1:] != ["unknown"]:
        return float(later_life[0]) - float(earlier_life[0])
    return float(later_unix) - float(earlier_unix)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


def arm(environ: Mapping[str, str] = os.environ) -> str:
    """Use the offset file of the environment from now on, if there is one; return its name, empty for none."""
    global _offset_file
    name = environ.get(VARIABLE, "")
    _offset_file = Path(name) if name else None
    return name


def _offset_s(file: Path) -> float:
    try:
        return float(file.read_text() or 0)
    except (OSError, ValueError):
        return 0.0  # it is being written at the moment, or gone: the machine's own time
