"""Finds the SQL and configuration: beside the package in a checkout, inside it when installed."""

import functools
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Return the folder `name` ("sql" or "config").

    Raises FileNotFoundError when the installation is incomplete.
    """
    for candidate in (_PACKAGE / "_resources" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the installation of HSEIE is incomplete: no folder {name!r}; install it again")


@functools.cache
def sql(folder: str, name: str) -> str:
    """Return the text of `sql/<folder>/<name>.sql`. Raises FileNotFoundError for an unknown name."""
    return (resource("sql") / folder / f"{name}.sql").read_text(encoding="utf-8")
