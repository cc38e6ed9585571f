"""strace as a cause of faults: system calls of running processes that fail, take long, or end them.

Attached as a debugger is, to the processes themselves, so that nothing of ours is replaced: the disk says no, not a
stand-in for it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.system.node import TIE, eventually, is_running

SYNCS = "fdatasync,fsync"  # which of them SQLite uses was chosen when it was built
WRITES = "pwrite64"  # of SQLite alone; ZeroMQ wakes its threads with `write`

# Where Yama keeps processes of one user apart (Debian does not, Ubuntu does), one may be traced by whom it names: -1 is
# anybody. Python runs this file at its start, in each process of a node whose PYTHONPATH leads to it.
OPT_IN = """
import ctypes
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)
"""


def traceable(folder: Path) -> dict[str, str]:
    """The environment of a node whose processes may be traced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(OPT_IN)
    return {"PYTHONPATH": str(folder)}


def why_not(folder: Path) -> str:
    """Why nothing can be traced here; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        env=os.environ | traceable(folder),
    )
    try:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()  # it has opted in
        with Trap(folder, [sleeper.pid], f"{SYNCS}:error=EIO"):
            return ""
    except AssertionError as error:
        return f"strace may not attach to a process of ours: {error}"
    finally:
        sleeper.kill()
        sleeper.communicate()


class Trap:
    """While it is open, the system calls of some processes, and of the children they get, meet with a fault.

    `faults` are what strace injects, as `fdatasync,fsync:error=EIO:when=3`; each thread counts its calls anew.
    """

    def __init__(self, folder: Path, pids: Sequence[int], *faults: str) -> None:
        self._pids = pids
        self._report = folder / f"strace-{time.monotonic_ns()}"
        calls = ",".join(fault.partition(":")[0] for fault in faults)
        command = ["strace", "-f", "-q", "-o", str(self._report), "-e", f"trace={calls}"]
        command += [part for fault in faults for part in ("-e", f"inject={fault}")]
        command += [part for pid in pids for part in ("-p", str(pid))]
        self._command = command

    def __enter__(self) -> "Trap":
        # Tied to us: a tracer that ends sets free what it traced.
        program = shutil.which("strace")
        assert program is not None
        tied = [sys.executable, "-I", "-S", "-c", TIE, program, *self._command[1:]]
        self._process = subprocess.Popen(tied, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        eventually(self._is_set, "strace is attached", 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)  # detaches
        self._process.communicate(timeout=20)

    def _is_set(self) -> bool:
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise AssertionError(self._process.stderr.read().decode(errors="replace").strip())
        return all(self._holds(pid) for pid in self._pids)

    def _holds(self, pid: int) -> bool:
        tracer = f"TracerPid:\t{self._process.pid}\n"
        try:
            return all(tracer in status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status"))
        except FileNotFoundError:
            return not is_running(pid)  # a thread, or all of it, has ended meanwhile

    @property
    def sprung(self) -> int:
        """How many calls have met with the fault."""
        report = self._report.read_text(errors="replace") if self._report.exists() else ""
        return sum(report.count(mark) for mark in ("(INJECTED)", "(DELAYED)", "killed by SIGKILL"))
