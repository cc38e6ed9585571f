"""Receives the bodies of requests: how long one may take, how large it may be, how much of all may be under way."""

import asyncio
import gc
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.inflate import inflate
from hseie.config import Http
from hseie.web import send_continue

LARGE_BODY_BYTES = 65_536
"""A body above it is parsed in its turn (`Bodies.in_turn`); one below takes a few milliseconds at most."""

T = TypeVar("T")


class Bodies:
    """The bodies that are received, inflated or waiting to be parsed: `bytes` there are, `bytes_max` there may be."""

    def __init__(self, http: Http) -> None:
        self.bytes = 0
        self.bytes_max = http.bodies_bytes_max
        self._body_bytes_max = http.body_bytes_max
        self._timeout_s = http.body_timeout_s
        self._turn = asyncio.Lock()

    async def read(self, request: web.Request) -> bytes:
        """Return the whole body, as it was sent.

        Raises what the safety net answers: 413 for one over the limit, 408 for one that does not come in time; and
        RejectedBodyError (503) where those of others leave no room.
        """
        if request.content.is_eof():  # as good as always: it came with the head, and a timer would cost 2 µs
            return await request.read()
        announced = request.content_length
        if announced is not None and announced > self._body_bytes_max:
            raise web.HTTPRequestEntityTooLarge(self._body_bytes_max, announced)
        await send_continue(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._receive(request)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None

    async def inflate(self, packed: bytes, coding: str) -> bytes:
        """Return what a packed body holds. Raises RejectedBodyError as `inflate` does, and where there is no room."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._hold(size)

        try:
            hold(len(packed))
            return await inflate(packed, coding, self._body_bytes_max, hold)
        finally:
            self.bytes -= held

    async def in_turn(self, body: bytes, parse: Callable[[bytes], T]) -> T:
        """Return what `parse` makes of a large body; of those that wait, one in a turn of the event loop.

        Parsing takes up to a tenth of a second, in which nobody else is served. Many that are whole at once would else
        follow each other without a pause, heartbeats included. Raises RejectedBodyError where there is no room to wait,
        and what `parse` does.
        """
        held = len(body)
        try:
            self._hold(held)
            async with self._turn:
                await asyncio.sleep(0)
                gc.disable()  # it would look again and again through what is just being made
                try:
                    return parse(body)
                finally:
                    gc.enable()
        finally:
            self.bytes -= held

    async def _receive(self, request: web.Request) -> bytes:
        # What has arrived counts, not what is announced: else a few could have all of it by sending nothing.
        body = bytearray()
        try:
            while piece := await request.content.readany():
                body += piece
                self._hold(len(piece))
                if len(body) > self._body_bytes_max:
                    raise web.HTTPRequestEntityTooLarge(self._body_bytes_max, len(body))
            return bytes(body)
        finally:
            self.bytes -= len(body)

    def _hold(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.bytes_max:
            raise RejectedBodyError("overloaded", "Too many bodies are on their way.")
