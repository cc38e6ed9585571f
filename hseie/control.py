"""What the processes of a node and its supervisor tell each other, and where: `control.sock` in the run folder.

Every process sends heartbeats; any process, and the command line, may ask for the node's snapshot. Bodies are msgpack.
"""

import asyncio
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec

from hseie.bus import Dealer, ipc_endpoint
from hseie.errors import ConfigError, FrameError, NotReachableError

CONTROL = "control"
MESSAGE_BYTES_MAX = 4_194_304

# A socket's path has to fit in sockaddr_un (108 bytes on Linux); the rest is reserve for how it is written.
_SOCKET_PATH_BYTES_MAX = 100
_NOT_CONNECTED_RETRY_S = 0.01
_LONGEST_SOCKET_NAME = "writer-1023.sock"

ProcessState = Literal["starting", "ready", "draining", "down", "given_up"]
Snapshot = dict[str, Any]


class Heartbeat(msgspec.Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """One process is alive, and how it does.

    `cpu_s`, `rss_bytes` and the files it holds open (sockets too) are its own, without children. `loop_lag` is the
    histogram of how late its event loop woke for a heartbeat.
    """

    name: str
    pid: int
    state: Literal["starting", "ready", "draining"]
    stats: dict[str, Any]
    rss_bytes: int
    cpu_s: float
    open_files: int = 0
    open_files_max: int = 0
    loop_lag: dict[str, Any] = {}


class StatusRequest(msgspec.Struct, frozen=True, tag_field="type", tag="status"):
    """Asks for the snapshot; the answer carries the same `id`."""

    id: int = 0


class ReloadRequest(msgspec.Struct, frozen=True, tag_field="type", tag="reload"):
    """Asks the node to read its configuration again and to replace its processes; answered when that is over."""

    id: int = 0


Message = Heartbeat | StatusRequest | ReloadRequest

# How a reload ended: all replaced; refused, and nothing was touched; or a process does not work as it should.
ReloadOutcome = Literal["done", "refused", "failed"]

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Any) -> bytes:
    """Return a message or a snapshot as the body of a frame."""
    return _encoder.encode(message)


def decode(body: bytes) -> Message:
    """Return the message of a body. Raises FrameError for anything else."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"not a control message: {error}") from None


def decode_snapshot(body: bytes) -> Snapshot:
    """Return the snapshot of an answer, with the `id` of its request. Raises FrameError for anything else."""
    try:
        return msgspec.msgpack.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"not a snapshot: {error}") from None


def run_dir_of(data: Path, temp: Path | None = None, uid: int | None = None) -> Path:
    """Return the folder of the node's sockets: `<data>/run`, or a short one made from a hash where that is too long.

    The same for every process that asks with the same data folder. Raises ConfigError if neither is short enough.
    """
    user = os.getuid() if uid is None else uid
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    for candidate in (data / "run", (temp or Path(tempfile.gettempdir())) / f"hseie-{user}-{digest}"):
        if len(os.fsencode(candidate / _LONGEST_SOCKET_NAME)) <= _SOCKET_PATH_BYTES_MAX:
            return candidate
    raise ConfigError(
        f"the paths {data} and {temp or tempfile.gettempdir()} are too long for sockets; shorten node.data"
    )


def prepare_run_dir(run_dir: Path) -> None:
    """Make the folder for this user alone and clear it of the sockets of an earlier life.

    To be called with the instance lock held. Raises ConfigError where the folder belongs to somebody else, who could
    then read and forge what the processes tell each other.
    """
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = run_dir.lstat()
    except OSError as error:
        raise ConfigError(f"cannot make the run folder {run_dir}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"the run folder {run_dir} is not a folder of this user; remove it, or choose another node.data"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        run_dir.chmod(0o700)
    for socket in run_dir.glob("*.sock"):
        socket.unlink(missing_ok=True)


def is_there(run_dir: Path) -> bool:
    """Tell whether a node runs there, or ran and was killed: who asks it need not wait in vain where none ever did."""
    return (run_dir / f"{CONTROL}.sock").exists()


async def deliver(dealer: Dealer, body: bytes) -> None:
    """Send a message as soon as somebody is connected; the caller bounds the time."""
    while not dealer.send(body):  # noqa: ASYNC110  # ZeroMQ does not tell when it has connected
        await asyncio.sleep(_NOT_CONNECTED_RETRY_S)


async def ask_snapshot(run_dir: Path, timeout_s: float) -> Snapshot:
    """Ask the supervisor of a running node for its snapshot. Raises NotReachableError when none answers in time."""
    try:
        return await _ask(run_dir, StatusRequest(), timeout_s)
    except TimeoutError:
        raise NotReachableError(_why_none_answers(run_dir)) from None


def _why_none_answers(run_dir: Path) -> str:
    try:
        may_enter = os.access(run_dir, os.X_OK) or not run_dir.exists()
    except PermissionError:  # nor may its parent be entered
        may_enter = False
    if not may_enter:
        return f"{run_dir} is closed to this user; ask as the user that runs the node"
    return f"no node answers at {run_dir}; start one with `hseie up`"


async def ask_reload(run_dir: Path, timeout_s: float) -> dict[str, Any]:
    """Ask a running node to reload; return its answer (see `supervisor.reload.Answer`). Raises TimeoutError."""
    return await _ask(run_dir, ReloadRequest(), timeout_s)


async def _ask(run_dir: Path, question: Message, timeout_s: float) -> dict[str, Any]:
    answer: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()

    def on_message(body: bytes) -> None:
        if not answer.done():
            answer.set_result(decode_snapshot(body))

    dealer = Dealer(ipc_endpoint(run_dir, CONTROL), on_message, message_bytes_max=MESSAGE_BYTES_MAX)
    try:
        async with asyncio.timeout(timeout_s):
            await deliver(dealer, encode(question))
            return await answer
    finally:
        dealer.close()
