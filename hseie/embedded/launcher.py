"""Becomes somebody PostgreSQL agrees to run as, ties its life to its parent's, and turns into a PostgreSQL program.

Run as a script of its own (`python -I -S launcher.py …`, see identity.command) and not as a
preexec_fn: code between fork and exec of a process that may have threads can deadlock. It imports nothing of hseie and
little else, because it stands in the way of every start, and it needs no file once it has changed who it is.

Arguments: KIND UID GID PARENT_PID DEATH_SIGNAL PROGRAM [ARGUMENT…], or `--probe PATH…` in place of the program.
"""

import ctypes
import os
import signal
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1

# The exit codes of a launcher that did not get as far as the program.
CANNOT_SWITCH = 120
PARENT_GONE = 121


def _call(name: str, *arguments: int) -> None:
    """Calls a function of the C library that answers 0 or sets errno; the latter becomes OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def enter_namespace(inner_uid: int, inner_gid: int) -> None:
    """Enters a user namespace in which root is an ordinary user; files stay root's. OSError where it is forbidden."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    # The kernel takes a group map from within only after setgroups has been given up.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{inner_uid} {outer_uid} 1")
    _write("/proc/self/gid_map", f"{inner_gid} {outer_gid} 1")


def drop_to_user(uid: int, gid: int) -> None:
    """Gives up root for good. OSError where the container has taken that right away."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main(arguments: list[str]) -> None:
    """Does not return: it ends as the program, or with one of the exit codes above and a line on stderr."""
    kind, uid, gid, parent_pid, death_signal = arguments[0], *(int(text) for text in arguments[1:5])
    program = arguments[5:]
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a supervisor may block signals; PostgreSQL must hear them
    os.umask(0o077)
    try:
        if kind == "namespace":
            enter_namespace(uid, gid)
        elif kind == "user":
            drop_to_user(uid, gid)
    except OSError as error:
        print(f"cannot switch to {kind} {uid}: {error}", file=sys.stderr)
        sys.exit(CANNOT_SWITCH)
    if program[0] == "--probe":
        print("".join("1" if os.access(path, os.X_OK) else "0" for path in program[1:]))
        return
    # Only now: the kernel forgets the death signal whenever credentials change.
    _call("prctl", PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel knew that we want to hear of it
        sys.exit(PARENT_GONE)
    os.execv(program[0], program)  # noqa: S606 - the very purpose; the arguments come from our own parent


if __name__ == "__main__":
    main(sys.argv[1:])
