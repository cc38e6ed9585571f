"""A TCP proxy between the writers and PostgreSQL that falls silent, is slow, resets, or cuts a commit in two.

It runs in a thread of its own. Connections of others (the oracle, analytics, the commands) pass untouched; those of
writers are told by the application name in the first message of PostgreSQL's protocol.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"COMMIT;\x00"  # the end of the simple query with which a transaction ends
COMMITTED = b"COMMIT\x00"  # in the server's answer to it
WRITER = b"application_name\x00hseie writer"

# What may become of one COMMIT. It never leaves; or that, in silence, so that the transaction stays open on the other
# side. It arrives, and the answer is lost with the connection, or in silence. The connection is lost first, and the
# COMMIT arrives a second later.
Cut = Literal["lost", "lost in silence", "answer lost", "answer in silence", "late"]


class Pipe:
    """One writer's connection: what came from it, what goes on to PostgreSQL."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_dead = False  # nothing passes any more, and nobody is told: a firewall forgot it
        self.swallows_answer: Cut | None = None

    def reset(self, *streams: asyncio.StreamWriter) -> None:
        for stream in streams:
            peer = stream.get_extra_info("socket")
            if peer is not None and not stream.transport.is_closing():
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close becomes RST
            stream.transport.abort()


class Proxy:
    """Set `silent` (bytes wait, both ways), `delay_s` (of each piece), or call what is to happen once."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.silent = False
        self.delay_s = 0.0
        self.commits_cut = 0
        self._cut: Cut | None = None
        self._pipes: set[Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        user, at, _ = self._target.netloc.rpartition("@")
        self.url = urlunsplit(self._target._replace(netloc=user + at + host))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # --- what a test orders -------------------------------------------------------------------------------------------

    def cut_next_commit(self, how: Cut) -> None:
        self._cut = how

    def reset_all(self) -> None:
        """RST for every connection of a writer, on both sides."""

        async def reset() -> None:
            for pipe in list(self._pipes):
                pipe.reset(pipe.client, pipe.server)

        self._do(reset())

    def forget_all(self) -> int:
        """Let every connection that a writer has now fall silent for ever; new ones are served. How many there were."""

        async def forget() -> int:
            for pipe in self._pipes:
                pipe.is_dead = True
            return len(self._pipes)

        found: int = self._do(forget())
        return found

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    # --- the way of the bytes -----------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server: asyncio.StreamWriter | None = None
        try:
            # asyncpg asks for TLS first, and is told no.
            first = await reader.read(65_536)
            answers, server = await asyncio.open_connection(self._target.hostname, self._target.port)
            if first[4:8] == struct.pack("!I", 80877103):
                server.write(first)
                writer.write(await answers.read(1))
                first = await reader.read(65_536)
            pipe = Pipe(writer, server)
            is_writer = WRITER in first
            if is_writer:
                self._pipes.add(pipe)
            await self._pass_on(pipe, first, is_writer)
            ways = [
                asyncio.ensure_future(self._requests(pipe, reader, is_writer)),
                asyncio.ensure_future(self._answers(pipe, answers, is_writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            while pipe.is_dead or pipe.swallows_answer == "answer in silence" or (is_writer and self.silent):
                await asyncio.sleep(0.05)  # an end is not passed on either
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._pipes.discard(pipe)
        except (OSError, asyncio.CancelledError):
            pass  # a connection that ends, or the proxy
        finally:
            self._tasks.discard(task)
            for stream in (writer, server):
                if stream is not None:
                    stream.transport.abort()

    async def _requests(self, pipe: Pipe, reader: asyncio.StreamReader, is_writer: bool) -> None:
        while piece := await reader.read(262_144):
            cut = self._cut if is_writer and piece.endswith(COMMIT) else None
            if cut is None:
                await self._pass_on(pipe, piece, is_writer)
                continue
            self._cut = None
            self.commits_cut += 1
            if cut == "lost":
                return pipe.reset(pipe.client, pipe.server)
            if cut == "lost in silence":
                pipe.is_dead = True
                return None
            if cut == "late":
                pipe.reset(pipe.client)
                await asyncio.sleep(1)
                pipe.server.write(piece)
                await pipe.server.drain()
                await asyncio.sleep(1)  # not to be cut off before it is done
                return None
            pipe.swallows_answer = cut
            pipe.server.write(piece)
        return None

    async def _answers(self, pipe: Pipe, answers: asyncio.StreamReader, is_writer: bool) -> None:
        while piece := await answers.read(262_144):
            if pipe.swallows_answer is not None and COMMITTED in piece:
                if pipe.swallows_answer == "answer lost":
                    return pipe.reset(pipe.client, pipe.server)
                continue
            await self._wait(pipe, is_writer)
            pipe.client.write(piece)
            await pipe.client.drain()
        return None

    async def _pass_on(self, pipe: Pipe, piece: bytes, is_writer: bool) -> None:
        await self._wait(pipe, is_writer)
        pipe.server.write(piece)
        await pipe.server.drain()

    async def _wait(self, pipe: Pipe, is_writer: bool) -> None:
        if is_writer and self.delay_s:
            await asyncio.sleep(self.delay_s)
        while is_writer and (self.silent or pipe.is_dead):
            await asyncio.sleep(0.02)
