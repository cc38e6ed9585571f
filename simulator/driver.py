"""Sends requests over a bounded number of connections, paced or as fast as they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from time import monotonic, time

from simulator.answers import NO_ACCESS, Verdict, read_answer, refusal
from simulator.fleet import rfc3339
from simulator.http1 import Answer, Connection, NotSentError, Target, UnansweredError, request_head
from simulator.ledger import Ledger, line
from simulator.posts import ROUTES, Post
from simulator.retry import RETRYABLE, RetryPolicy, retry_after_s
from simulator.tally import Tally

OVERDUE_S = 0.01
"""A request taken up this much after it was due found no free connection."""

LAST_ANSWERS_S = 10.0
"""How long a stopped run waits for the answers to what it has sent."""

CONNECT_WITHIN_S = 5.0
TIMEOUT_CHECK_S = 0.25


class Pace:
    """Ties the fleet's clock (Unix ms) to the monotonic one (s)."""

    def __init__(self, unix_ms: int, monotonic_s: float) -> None:
        self.unix_ms = unix_ms
        self.monotonic_s = monotonic_s

    def due_s(self, unix_ms: int) -> float:
        return self.monotonic_s + (unix_ms - self.unix_ms) / 1000

    def now_ms(self) -> int:
        return self.unix_ms + int((monotonic() - self.monotonic_s) * 1000)


class Driver:
    """``concurrency`` workers with a connection each, all taking the next request from one source.

    At full rate a worker sends as soon as its last request is answered (closed loop). Paced, it first waits
    until the request is due: a slow answer holds back its own worker and nobody else (open loop), and when no
    worker is free the requests are sent overdue and counted as such. Memory is bounded either way.

    Everything runs on one loop: in large batches at full rate, a latency includes the time this process spent
    making the other workers' batches.
    """

    def __init__(
        self,
        target: Target,
        concurrency: int,
        timeout_s: float,
        policy: RetryPolicy,
        headers: dict[str, str],
        tally: Tally,
        ledger: Ledger | None,
        random: Random,
    ) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self.policy = policy
        self.tally = tally
        self.ledger = ledger
        self.random = random
        self.heads = {kind: request_head(target, route, headers) for kind, route in ROUTES.items()}
        self.connections: list[Connection | None] = [None] * concurrency
        self.stopping = False
        self._pauses: set[asyncio.Future[None]] = set()

    def stop(self) -> None:
        """Send nothing new; answers to what is on its way are still awaited."""
        self.stopping = True
        for pause in self._pauses:
            _wake(pause)

    async def drive(self, posts: Iterator[Post], pace: Pace | None) -> None:
        """Send all posts, when they are due if there is a pace; returns at their end or when stopped."""
        watch = asyncio.create_task(self._watch_timeouts())
        workers = [asyncio.create_task(self._work(slot, posts, pace)) for slot in range(len(self.connections))]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (watch, *workers):
                task.cancel()
            await asyncio.gather(watch, *workers, return_exceptions=True)

    def close(self) -> None:
        for connection in self.connections:
            if connection is not None:
                connection.close()

    async def _watch_timeouts(self) -> None:
        # One task for all connections: a timer for each request would cost more than the request.
        stopped_at: float | None = None
        while True:
            await asyncio.sleep(TIMEOUT_CHECK_S)
            now = monotonic()
            if self.stopping and stopped_at is None:
                stopped_at = now
            over = stopped_at is not None and now > stopped_at + LAST_ANSWERS_S
            for connection in self.connections:
                if connection is not None:
                    connection.expire(now if over else now - self.timeout_s)

    async def _work(self, slot: int, posts: Iterator[Post], pace: Pace | None) -> None:
        while not self.stopping and (post := next(posts, None)) is not None:
            overdue_since: float | None = None
            if pace is not None:
                due = pace.due_s(post.due_ms)
                ahead = due - monotonic()
                if ahead > 0:
                    await self._pause(ahead)
                    if self.stopping:
                        return
                elif ahead < -OVERDUE_S:
                    self.tally.overdue += 1
                    overdue_since = due
            self.tally.in_flight += 1
            try:
                await self._deliver(slot, post, overdue_since)
            finally:
                self.tally.in_flight -= 1

    async def _deliver(self, slot: int, post: Post, overdue_since: float | None) -> None:
        """Send one request until it has a final answer or its attempts are used up, and book the outcome."""
        head = self.heads[post.kind]
        request = b"%b%d\r\n\r\n%b" % (head, len(post.body), post.body)
        attempt = 0
        in_doubt = False
        while True:
            attempt += 1
            began = overdue_since or monotonic()
            overdue_since = None
            status: int | None = None
            after_s = 0.0
            try:
                answer = await self._exchange(slot, request)
            except NotSentError:
                pass
            except UnansweredError:
                in_doubt = True
            else:
                status = answer.status
                self.tally.answered(status, monotonic() - began)
                if status not in RETRYABLE and status < 500:
                    verdict = read_answer(len(post.readings), status, answer.body)
                    if status in NO_ACCESS:
                        self.tally.no_access(refusal(status, answer.body))
                        if in_doubt:  # an attempt before may have been let in, and taken
                            verdict = Verdict(unknown=len(post.readings))
                    self._book(post, status, verdict, attempt)
                    return
                after_s = retry_after_s(answer.retry_after, time())
            delay = self.policy.delay_s(status, attempt, after_s, self.random.random())
            if delay is not None and not self.stopping:
                await self._pause(delay)
            if delay is None or self.stopping:
                break
            self.tally.retried += 1
        count = len(post.readings)
        self._book(post, status, Verdict(unknown=count) if in_doubt else Verdict(failed=count), attempt)

    async def _exchange(self, slot: int, request: bytes) -> Answer:
        connection = self.connections[slot]
        if connection is None or not connection.is_open:
            connection = self.connections[slot] = await Connection.open(
                self.target, min(CONNECT_WITHIN_S, self.timeout_s)
            )
        return await connection.exchange(request)

    def _book(self, post: Post, status: int | None, verdict: Verdict, attempts: int) -> None:
        self.tally.finished(post, verdict)
        if self.ledger is not None:
            self.ledger.write(line(post, status, verdict, attempts, rfc3339(int(time() * 1000))))

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until the run is stopped."""
        loop = asyncio.get_running_loop()
        pause = loop.create_future()
        timer = loop.call_later(seconds, _wake, pause)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            timer.cancel()
            self._pauses.discard(pause)


def _wake(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
