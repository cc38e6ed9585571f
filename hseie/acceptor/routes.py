"""The routes of an acceptor: three take readings, every other request is passed on to analytics."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from hseie import clock, failpoints
from hseie.acceptor.answers import answer_batch, answer_one, answer_rejected
from hseie.acceptor.bodies import RejectedBodyError
from hseie.acceptor.collector import WriterLink
from hseie.acceptor.parse import DEVICES_REMEMBERED_MAX, Parsed, ReadingParser
from hseie.acceptor.proxy import AnalyticsProxy
from hseie.acceptor.receive import LARGE_BODY_BYTES, Bodies
from hseie.acceptor.request_head import Preference, coding_of, is_ndjson, read_preference
from hseie.acceptor.tickets import Receipt, Refusal, Ticket
from hseie.access import Admits
from hseie.admission import Doorman, Visitor
from hseie.client_certificate import admits_only
from hseie.config import Config
from hseie.errors import KeysFileError
from hseie.http_connection import client_name
from hseie.problems import ProblemAnswer
from hseie.readings import KINDS, Kind
from hseie.web import PROBLEM, answer_error, answer_expect, new_app, problem, problem_response

_PARTING_LOOK_S = 0.5
_NOT_TAKEN = 503
_ANY_PATH = r"/{path:[\s\S]*}"  # a dot would stop at a line's end, which %0A is


@dataclass(slots=True)
class Counts:
    """What an acceptor has done since its start."""

    requests: int = 0
    in_flight: int = 0
    readings: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    answers: dict[int, int] = field(default_factory=dict)  # by status
    problems: dict[str, int] = field(default_factory=dict)  # those of them that are problems, by code
    reading_errors: dict[str, int] = field(default_factory=dict)  # what was named in refused readings, by code

    def refused(self, response: web.Response) -> None:
        """Count an answer that is a problem, by its code."""
        if code := response.get(PROBLEM):
            self.problems[code] = self.problems.get(code, 0) + 1


class IngestRoutes:
    """Answers the POST requests of one acceptor."""

    def __init__(self, config: Config, links: Sequence[WriterLink], doorman: Doorman | None = None) -> None:
        """`doorman` asks for keys; without one everybody may send."""
        http, ingest = config.http, config.ingest
        self.counts = Counts()
        self.bodies = Bodies(http)
        self.draining = False
        self.parting = False  # nobody waits for a commit any more: the receipt of the journal has to do
        self._links = links
        self._doorman = doorman
        self._bound_to_certificates = config.tls.binds_to_device
        self._parser = ReadingParser(len(links), http.batch_readings_max, ingest.future_max_s, ingest.past_max_days)
        self.limits = {
            "requests_in_flight": http.requests_in_flight_max,
            "frames_in_flight": ingest.frames_in_flight_max,
            "shard_bytes": ingest.frame_bytes_max,
            "body_bytes": http.body_bytes_max,
            "bodies_bytes": http.bodies_bytes_max,
            "head_timeout_s": http.head_timeout_s,
            "body_timeout_s": http.body_timeout_s,
            "keepalive_s": http.keepalive_s,
            "batch_readings": http.batch_readings_max,
            "ack_timeout_ms": ingest.ack_timeout_ms,
            "devices": DEVICES_REMEMBERED_MAX,
        }
        self._wait_by_default = ingest.ack == "commit"
        self._commit_timeout_s = ingest.commit_timeout_ms / 1000
        self._no_preference = read_preference("", self._wait_by_default, self._commit_timeout_s)
        self._in_flight_max = http.requests_in_flight_max

    @property
    def devices_remembered(self) -> int:
        return self._parser.devices_remembered

    def route(self, kind: Kind | None) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return what answers a POST of readings of `kind`, or (None) of every kind."""

        async def ingest(request: web.Request) -> web.Response:
            counts = self.counts
            counts.requests += 1
            try:
                response = await self._ingest(request, kind)
            except Exception as error:
                response = answer_error(request, error)
            status = response.status
            counts.answers[status] = counts.answers.get(status, 0) + 1
            if status >= 400:
                counts.refused(response)
            return response

        return ingest

    async def _ingest(self, request: web.Request, kind: Kind | None) -> web.Response:
        if self.draining:
            return problem("draining")
        if self._doorman is None:
            return await self._take(request, kind, None)
        let_in = self._doorman.admit(request.headers, "ingest")
        if isinstance(let_in, ProblemAnswer):
            return problem_response(let_in)
        response = await self._take(request, kind, let_in)
        if response.status == _NOT_TAKEN:
            let_in.give_back()
        return response

    async def _take(self, request: web.Request, kind: Kind | None, visitor: Visitor | None) -> web.Response:
        try:
            parsed = await self._parse(request, kind, visitor)
        except RejectedBodyError as error:
            return problem(error.code, error.detail, headers=error.headers)
        except KeysFileError:
            return problem("keys_unavailable", "the devices of this key cannot be looked up")
        if visitor is not None and (refused := visitor.pay(parsed.accepted + parsed.rejected)) is not None:
            return problem_response(refused)
        self.counts.readings += parsed.accepted + parsed.rejected
        self.counts.rejected += parsed.rejected
        for error_item in parsed.errors:
            code = error_item.code
            self.counts.reading_errors[code] = self.counts.reading_errors.get(code, 0) + 1
        if not parsed.accepted:
            return problem_response(answer_rejected(parsed))
        preference = self._no_preference
        if prefer := request.headers.getall("Prefer", ()):
            preference = read_preference(",".join(prefer), self._wait_by_default, self._commit_timeout_s)
        # Counted from here: a body that trickles in is the business of its time-out, and takes nobody's place.
        if self.counts.in_flight >= self._in_flight_max:
            return problem("overloaded", retry_s=max(link.backlog_s for link in self._links))
        self.counts.in_flight += 1
        try:
            return await self._store(parsed, preference)
        finally:
            self.counts.in_flight -= 1

    async def _parse(self, request: web.Request, kind: Kind | None, visitor: Visitor | None) -> Parsed:
        """Return what the body holds. Raises RejectedBodyError, KeysFileError, and what the safety net answers."""
        headers = request.headers
        lines = is_ndjson(headers.getall("Content-Type", ()))
        coding = coding_of(headers.getall("Content-Encoding", ()))
        body = await self.bodies.read(request)
        failpoints.reach("acceptor.body_read")
        if coding is not None:
            body = await self.bodies.inflate(body, coding)
        name = client_name(request) if self._bound_to_certificates else None
        now = clock.unix_s()

        def judge(body: bytes) -> Parsed:
            # Called twice for a body with devices that are refused their place: see `AdmittedDevices.judge`.
            def parse(admits: Admits | None) -> Parsed:
                asked = admits if name is None else admits_only(name, admits)
                return self._parser.parse(body, kind, now, asked, lines=lines)

            return parse(None) if visitor is None else visitor.judge(parse)

        if len(body) > LARGE_BODY_BYTES:
            return await self.bodies.in_turn(body, judge)
        return judge(body)

    async def _store(self, parsed: Parsed, preference: Preference) -> web.Response:
        """Send the rows to their writers and answer when all of them have acknowledged.

        If one shard cannot take its part, the answer is 503 although others may have: the client sends all again, and
        what was stored is recognised as re-sent.
        """
        tickets: list[Ticket] = []
        try:
            for kind, rows_of_shards in parsed.rows.items():
                for shard, rows in rows_of_shards.items():
                    ticket = self._links[shard].add(kind, rows, preference.wait)
                    if isinstance(ticket, Refusal):
                        return problem(ticket.code, retry_s=ticket.retry_s)
                    tickets.append(ticket)
            receipts: list[Receipt] = []
            duplicates = 0
            for ticket in tickets:
                outcome = await ticket.frame.outcome
                if isinstance(outcome, Refusal):
                    return problem(outcome.code, retry_s=outcome.retry_s)
                receipts.append(outcome)
                duplicates += outcome.duplicates_between(ticket.kind, ticket.start, ticket.start + ticket.count)
            committed = preference.wait and await self._all_committed(tickets, preference.seconds)
        finally:
            if preference.wait:
                for ticket in tickets:
                    ticket.frame.waiting -= 1
        self.counts.duplicates += duplicates
        self.counts.accepted += parsed.accepted - duplicates
        parked = sum(ticket.parked for ticket in tickets) if committed else 0
        stored = committed and not parked
        if parsed.is_batch:
            status, body = answer_batch(parsed, receipts, duplicates, stored, parked)
        else:
            status, body = answer_one(KINDS[tickets[0].kind], parsed, receipts[0], bool(duplicates), stored, parked)
        response = web.Response(body=body, status=status, content_type="application/json")
        failpoints.reach("acceptor.before_answer")
        # A wait that was not long enough is not confirmed: the answer is then the 202 of the journal.
        applied = preference.applied if preference.wait == committed else preference.applied_late
        if applied:
            response.headers["Preference-Applied"] = applied
        return response

    async def _all_committed(self, tickets: Sequence[Ticket], seconds: float) -> bool:
        late = {ticket.frame.committed for ticket in tickets if ticket.frame.committed is not None}
        until = time.monotonic() + seconds
        while late and not self.parting and (left_s := until - time.monotonic()) > 0:
            _, late = await asyncio.wait(late, timeout=min(left_s, _PARTING_LOOK_S))
        return not late


def make_app(config: Config, ingest: IngestRoutes, proxy: AnalyticsProxy) -> web.Application:
    """Return the application of an acceptor."""
    app = new_app(config.http.body_bytes_max, config.http.cors_origins, hsts=bool(config.tls.certificate))
    for path, kind in {"/v1/ingest": None, **{f"/v1/ingest/{kind.name}": kind for kind in KINDS}}.items():
        app.router.add_post(path, ingest.route(kind), expect_handler=answer_expect)
        app.router.add_route("*", path, _only_post, expect_handler=answer_expect)
    app.router.add_get("/livez", _alive, expect_handler=answer_expect)
    app.router.add_route("*", _ANY_PATH, proxy.pass_on, expect_handler=answer_expect)
    app.on_shutdown.append(proxy.end_streams)
    return app


async def _only_post(request: web.Request) -> web.Response:
    return problem("method_not_allowed", headers={"Allow": "POST"})


async def _alive(request: web.Request) -> web.Response:
    return web.Response(text="ok")
