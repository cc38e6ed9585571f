"""Finds the SQL and configuration: beside the package in a checkout, inside it when installed."""

import functools
import re
from pathlib import Path

_INCLUDE = re.compile(r"^\\ir (\S+)$", re.MULTILINE)
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
    r"""Return the text of `sql/<folder>/<name>.sql`. Raises FileNotFoundError for an unknown name.

    A line `\ir ../parts/other.sql` stands for that file's text, as in psql: what several statements have in common is
    written once.
    """
    return _with_parts(resource("sql") / folder / f"{name}.sql")


def _with_parts(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda line: _with_parts(file.parent / line[1]).rstrip("\n"), text)
