"""Asks HTTP questions as fast as they are answered, and measures how long each took.

So many clients, each on a connection of its own that is kept, each sending its next question when it has the answer to
the last one. A process of its own, without a library between it and the socket: beside a server that answers at once it
shows what it could measure at all (`alone`).
"""

import asyncio
import contextlib
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop

WARM_UP_S = 2.0
ANSWER_BYTES = 900  # as an answer about performance has

Paths = Callable[[random.Random], str]
"""Makes the path of a question. Has to be importable by name, for the other process."""


@dataclass
class Measured:
    """What the clients saw: milliseconds a question, questions by status, and for how long."""

    took_ms: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def per_s(self) -> float:
        return len(self.took_ms) / self.seconds

    def figures(self) -> dict[str, Any]:
        named = {f"p{percent:g}_ms": round(self.percentile(percent), 2) for percent in (50, 99, 99.9)}
        return {**named, "per_s": round(self.per_s, 1), "questions": len(self.took_ms), "statuses": self.statuses}

    def __str__(self) -> str:
        spread = ", ".join(f"p{percent:g} {self.percentile(percent):7.2f} ms" for percent in (50, 99, 99.9))
        others = {status: count for status, count in self.statuses.items() if status != "200"}
        return f"{spread}, {self.per_s:8,.0f} questions/s{f', NOT ANSWERED {others}' if others else ''}"


class Client(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again."""

    def __init__(self, next_path: Callable[[], str], told: Callable[[float, str], None]) -> None:
        self._next_path, self._told = next_path, told
        self._answer = b""
        self._began = 0.0
        self._transport: Any = None
        self.lost: BaseException | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._told(0.0, "lost")

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return
        _, found, length = head.lower().partition(b"content-length:")
        if not found:
            self._told(0.0, "unbounded")
            self._transport.close()
        elif len(body) >= int(length.split(b"\r\n", 1)[0]):
            self._told((time.perf_counter() - self._began) * 1000, head[9:12].decode())
            self._ask()

    def _ask(self) -> None:
        self._answer = b""
        request = f"GET {self._next_path()} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self._began = time.perf_counter()
        self._transport.write(request)


async def _ask_for(port: int, paths: Paths, clients: int, seconds: float, seed: int) -> Measured:
    loop = asyncio.get_running_loop()
    dice = random.Random(seed)
    took_ms: list[float] = []
    statuses: Counter[str] = Counter()
    measuring = False

    def told(took: float, status: str) -> None:
        if measuring:
            took_ms.append(took)
            statuses[status] += 1

    connections = [
        await loop.create_connection(lambda: Client(lambda: paths(dice), told), "127.0.0.1", port)
        for _ in range(clients)
    ]
    await asyncio.sleep(min(WARM_UP_S, seconds))
    began = time.perf_counter()
    measuring = True
    await asyncio.sleep(seconds)
    measuring = False
    found = Measured(took_ms, dict(statuses), time.perf_counter() - began)
    for transport, _ in connections:
        transport.close()
    return found


def _process(results: Any, *arguments: Any) -> None:
    results.put(uvloop.run(_ask_for(*arguments)))


def ask(port: int, paths: Paths, *, clients: int, seconds: float, seed: int = 1) -> Measured:
    """Ask for so long, after a warm-up, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_process, args=(results, port, paths, clients, seconds, seed))
    process.start()
    found: Measured = results.get(timeout=seconds + 120)
    process.join()
    return found


class _Canned(asyncio.Protocol):
    """Answers whatever comes, at once."""

    ANSWER = f"HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES}\r\n\r\n".encode() + b"x" * ANSWER_BYTES

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.ANSWER)


def _serve_canned(port: Any) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Canned, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


@contextlib.contextmanager
def canned() -> Iterator[int]:
    """The port of a server that answers at once."""
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    process = context.Process(target=_serve_canned, args=(port,), daemon=True)
    process.start()
    try:
        yield port.get(timeout=60)
    finally:
        process.terminate()
        process.join()


def alone(paths: Paths, *, clients: int, seconds: float) -> Measured:
    """What the clients measure where answering takes no time: they are no limit far below that."""
    with canned() as port:
        return ask(port, paths, clients=clients, seconds=seconds)
