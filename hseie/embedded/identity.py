"""Who runs the embedded PostgreSQL, since it refuses to run as root.

An ordinary user runs it as himself (one without a name, as `docker run --user 1234` makes him, needs the first way
below, because initdb insists on a name). Root has two ways, and neither touches the permissions of a folder not ours:

1. a user namespace in which root is an ordinary user: he still enters what only root may, and the files stay root's;
2. where a container forbids namespaces (or a folder belongs to somebody else who lets nobody in), an unprivileged user.

Which one works is found out by trying it in a throw-away child, never guessed from version numbers.
"""

import contextlib
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hseie.embedded import launcher
from hseie.errors import EmbeddedPostgresError

NOBODY = 65534  # the usual number of the user without rights, where the machine names none
PROBE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Identity:
    """Who the server is: ourselves, ourselves inside a namespace (uid and gid as seen inside), or another user."""

    kind: Literal["self", "namespace", "user"]
    uid: int
    gid: int

    def owner(self) -> tuple[int, int]:
        """User and group that own its files on disk, as we see them."""
        return (self.uid, self.gid) if self.kind == "user" else (os.geteuid(), os.getegid())


@dataclass(frozen=True)
class Standing:
    """An identity and what it can get at by absolute path: our folder, and the programs of PostgreSQL."""

    identity: Identity
    reaches_folder: bool
    reaches_programs: bool

    @contextlib.contextmanager
    def opened(self, cluster: Path) -> Iterator["OpenedCluster"]:
        """How a program run as this identity gets at the cluster, for the time it takes to start it.

        Where the way in is closed to it, it inherits the folder as an open descriptor: /proc/self/fd/N leads there
        without walking the way. (The working directory would do for 16 and newer; 15 leaves it and returns by path.)
        """
        if self.reaches_folder:
            yield OpenedCluster(str(cluster), ())
            return
        descriptor = os.open(cluster, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield OpenedCluster(f"/proc/self/fd/{descriptor}", (descriptor,))
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class OpenedCluster:
    """What follows `-D`, and the descriptors the program must inherit for it."""

    argument: str
    descriptors: tuple[int, ...]


def command(identity: Identity, program: Sequence[str], death_signal: signal.Signals = signal.SIGINT) -> list[str]:
    """The command line that runs the program as that identity and signals it when the calling thread dies."""
    interpreter = [sys.executable, "-I", "-S", launcher.__file__]
    return [
        *interpreter,
        identity.kind,
        str(identity.uid),
        str(identity.gid),
        str(os.getpid()),
        str(int(death_signal)),
        *program,
    ]


def choose(folder: Path, program: Path) -> Standing:
    """Finds who may run `program` on a cluster inside `folder`: the first who reaches both, else who reaches most.

    Raises EmbeddedPostgresError when root can become nobody at all.
    """
    if os.geteuid() != 0:
        return _standing_of_ordinary_user(folder, program)
    standings: list[Standing] = []
    for identity in _candidates(folder):
        standing = probe(identity, folder, program)
        if standing is None:
            continue
        if standing.reaches_folder and standing.reaches_programs:
            return standing
        standings.append(standing)
    if not standings:
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and here root may neither make a user namespace nor become another user. "
            "Run HSEIE as an ordinary user, or set postgres.url to a server that runs elsewhere."
        )
    return max(standings, key=lambda standing: (standing.reaches_folder, standing.reaches_programs))


def _standing_of_ordinary_user(folder: Path, program: Path) -> Standing:
    identity = Identity("self", os.geteuid(), os.getegid())
    try:
        pwd.getpwuid(identity.uid)
    except KeyError:
        namespace = namespace_identity()
        if namespace and (standing := probe(namespace, folder, program)):
            return standing
    return Standing(identity, True, True)


def probe(identity: Identity, folder: Path, program: Path) -> Standing | None:
    """Tries an identity in a throw-away child. None when it cannot be taken on.

    Asked is the way to `folder`, not the folder: that one is ours, and is opened to the identity once it is chosen.
    """
    result = subprocess.run(
        command(identity, ["--probe", str(folder.parent), str(program)]),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
    )
    answer = result.stdout.strip()
    if result.returncode != 0 or len(answer) != 2:
        return None
    return Standing(identity, answer[0] == "1", answer[1] == "1")


def namespace_identity() -> Identity | None:
    """Ourselves under an ordinary name. (A function, so that tests can play a container that forbids it.)"""
    return Identity("namespace", *_unprivileged())


def _unprivileged() -> tuple[int, int]:
    # initdb looks its user up by number, so one with a name is better than any number.
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    entry = next((entry for entry in others if entry.pw_name == "nobody"), others[-1] if others else None)
    return (entry.pw_uid, entry.pw_gid) if entry else (NOBODY, NOBODY)


def _candidates(folder: Path) -> Iterator[Identity]:
    cluster = folder / "pgdata"
    if cluster.exists() and (found := cluster.stat()).st_uid != 0:
        yield Identity("user", found.st_uid, found.st_gid)  # made by that user: it stays with him
        return
    if namespace := namespace_identity():
        yield namespace
    # `sudo` in somebody's closed home: only its owner gets in, root under another name does not.
    for parent in folder.parents:
        found = parent.stat()
        if found.st_uid != 0 and not found.st_mode & stat.S_IXOTH:
            yield Identity("user", found.st_uid, found.st_gid)
            break
    yield Identity("user", *_unprivileged())
