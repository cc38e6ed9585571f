"""The names of the archive's files, and putting one there so that it survives a power cut.

    <archive>/archive.id                            whose archive it is: `archive_identity`
    <archive>/meter/2026-02-08/part-1.parquet       named by archive_part, and never changed afterwards
    <archive>/meter/2026-02-08/part-2.<...>.writing  being written; of a process that was killed, if nobody does

A file that archive_unnamed names is not needed any more, or is the remains of a life that ended before it noted it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import uuid4

from hseie.durable import replace, sync_folder
from hseie.errors import ArchiveMisplacedError, ArchiveUnavailableError

_PART = re.compile(r"part-([1-9][0-9]*)\.parquet")
_IDENTITY = "archive.id"
_READ_BYTES = 1 << 20


def folder_of(kind: str, day: date) -> str:
    """Return the folder of a day, relative to the archive's."""
    return f"{kind}/{day.isoformat()}"


def file_of(kind: str, day: date, part: int) -> str:
    """Return the file of a part, relative to the archive's folder."""
    return f"{folder_of(kind, day)}/part-{part}.parquet"


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what the file system says into ArchiveUnavailableError: it is no trouble of PostgreSQL."""
    try:
        yield
    except OSError as error:
        raise ArchiveUnavailableError(f"the archive {folder}: {error.strerror}: {error.filename}") from error


def claim(archive: Path, identity: str, used: bool) -> None:
    """Make sure that the folder is the archive of the database with this identity; make it where it is not `used` yet.

    A folder that is used is never made: its disk is not mounted. Raises what `whose` does.
    """
    if not whose(archive, identity, used):
        if not archive.is_dir():
            archive.mkdir(mode=0o700, parents=True)
            sync_folder(archive.parent)
        replace(archive / _IDENTITY, f"{identity}\n")


def whose(archive: Path, identity: str | None, used: bool) -> str:
    """Return the identity that the folder says; nothing where it says none and is not `used` yet.

    Raises ArchiveMisplacedError where it says another than this one (None: it may say any), ArchiveUnavailableError
    where it is used and says none, and OSError.
    """
    file = archive / _IDENTITY
    try:
        found = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        found = ""
    except NotADirectoryError:
        raise ArchiveMisplacedError(f"the archive {archive} is not a folder, or not in one") from None
    if not found and not used:
        return ""
    if identity is None or found == identity:
        return found
    what = f"says that it is the archive of another database, {found}." if found else "is missing: is the disk there?"
    error = ArchiveMisplacedError if found else ArchiveUnavailableError
    raise error(f"{file} {what} If this folder is the right one, write {identity} into that file")


def begin(archive: Path, kind: str, day: date, parts: Iterable[int]) -> tuple[int, Path]:
    """Make the folder of a day; return the next part's number, above `parts` and all files, and the path to write to.

    The archive is claimed. Takes away what was being written: whoever calls is the only one who writes. Raises OSError.
    """
    folder = archive / folder_of(kind, day)
    for made in (folder.parent, folder):
        if not made.is_dir():
            made.mkdir(mode=0o700)
            sync_folder(made.parent)
    for left in folder.glob("*.writing"):
        left.unlink()
    taken = [int(match[1]) for path in folder.iterdir() if (match := _PART.fullmatch(path.name))]
    part = max([0, *parts, *taken]) + 1
    # A name of its own: somebody who was stopped, and replaced meanwhile, may go on writing to his.
    return part, folder / f"part-{part}.{uuid4().hex}.writing"


def keep(fresh: Path, final: Path) -> None:
    """Sync a file and give it its name, for good: nothing is overwritten. Raises OSError, also where it is taken."""
    sync_file(fresh)
    os.link(fresh, final)
    fresh.unlink()
    sync_folder(final.parent)


def sync_file(path: Path) -> None:
    """Make the content of a file survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(archive: Path, unnamed: Iterable[str], named: Iterable[str]) -> list[str]:
    """Remove of a day's files those `unnamed`; return which. All relative to the archive's folder. Raises OSError.

    Only of parts with a lower number than the last one named: numbers rise, so those above are of somebody who came
    after us while we were stopped.
    """
    kept = set(named)
    last = max((_number(file) for file in kept), default=0)
    removed = [file for file in unnamed if file not in kept and 0 < _number(file) < last]
    for file in removed:
        (archive / file).unlink(missing_ok=True)
    return removed


def _number(file: str) -> int:
    """Return the number of the part that a file is; 0 for something else."""
    match = _PART.fullmatch(Path(file).name)
    return int(match[1]) if match else 0


def sha256(path: Path) -> str:
    """Return the digest of a file, in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def damage(archive: Path, file: str, size: int, digest: str) -> str:
    """Return what is wrong with a file, beside its size in bytes and its digest; nothing where all is well."""
    path = archive / file
    try:
        found = path.stat().st_size
        if found != size:
            return f"{path} has {found} bytes, and had {size} when it was written"
        if sha256(path) != digest:
            return f"{path} is not what was written: its SHA-256 differs"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""
