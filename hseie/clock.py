"""What time it is: the only place that asks the wall clock. Whatever measures a span uses the monotonic clock instead.

Tests set the wall clock of a whole node with HSEIE_CLOCK_FILE=<file>, which holds seconds to add and may change while
the node runs, as when somebody corrects the machine's clock.
"""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

VARIABLE = "HSEIE_CLOCK_FILE"

_offset_file: Path | None = None


def unix_s() -> float:
    """Return seconds since 1970."""
    return time.time() if _offset_file is None else time.time() + _offset_s(_offset_file)


def utc_now() -> datetime:
    """Return the moment as an aware datetime in UTC."""
    return datetime.fromtimestamp(unix_s(), UTC)


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
