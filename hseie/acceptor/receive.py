"""Receives the bodies of requests: how long one may take, how large it may be, how much of all may be under way."""

import asyncio

from aiohttp import web

from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.inflate import inflate
from hseie.config import Http
from hseie.web import send_continue


class Bodies:
    """The bodies that are being received or inflated: `bytes` of them there are, `bytes_max` there may be."""

    def __init__(self, http: Http) -> None:
        self.bytes = 0
        self.bytes_max = http.bodies_bytes_max
        self._body_bytes_max = http.body_bytes_max
        self._timeout_s = http.body_timeout_s

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
            self.bytes -= held  # what is returned is parsed before anybody else has a turn

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
