"""Receives the bodies of requests: how long one may take, how large it may be, how much of all may be under way."""

import asyncio

from aiohttp import web

from hseie.acceptor.bodies import RejectedBodyError
from hseie.config import Http


class Bodies:
    """The bodies that are being received. `bytes` is how much of them has arrived, `bytes_max` how much may."""

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
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._receive(request)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None

    async def _receive(self, request: web.Request) -> bytes:
        # What has arrived counts, not what is announced: else a few could have all of it by sending nothing.
        body = bytearray()
        try:
            while piece := await request.content.readany():
                self.bytes += len(piece)
                body += piece
                if len(body) > self._body_bytes_max:
                    raise web.HTTPRequestEntityTooLarge(self._body_bytes_max, len(body))
                if self.bytes > self.bytes_max:
                    raise RejectedBodyError("overloaded", "Too many bodies are on their way.")
            return bytes(body)
        finally:
            self.bytes -= len(body)
