"""The names of the archive's files, and putting one there so that it survives a power cut.

    <archive>/meter/2026-02-08/part-1.parquet       named by archive_part, and never changed afterwards
    <archive>/meter/2026-02-08/part-2.<...>.writing  being written; of a process that was killed, if nobody does

A file that no row of archive_part names is the remains of a life that ended before it noted it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import uuid4

from hseie.durable import sync_folder
from hseie.errors import ArchiveUnavailableError

_PART = re.compile(r"part-([1-9][0-9]*)\.parquet")
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


def begin(archive: Path, kind: str, day: date, parts: Iterable[int]) -> tuple[int, Path]:
    """Make the folder of a day; return the next part's number, above `parts` and all files, and the path to write to.

    Takes away what was being written: whoever calls is the only one who writes. Raises OSError.
    """
    folder = archive / folder_of(kind, day)
    for made in (archive, folder.parent, folder):
        if not made.is_dir():
            made.mkdir(mode=0o700, parents=True)
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


def sweep(archive: Path, kind: str, day: date, named: Iterable[str]) -> None:
    """Remove the files of a day that are not among those `named`, relative to the archive's folder. Raises OSError."""
    keep = {archive / name for name in named}
    folder = archive / folder_of(kind, day)
    if folder.is_dir():
        for path in folder.iterdir():
            if path not in keep and (_PART.fullmatch(path.name) or path.suffix == ".writing"):
                path.unlink()


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
