"""The ingest routes over HTTP, with a real shard behind them and no PostgreSQL."""

import asyncio
import gzip
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hseie.acceptor.tickets import Refusal
from hseie.frames import decode, parse_frame
from hseie.ports import analytics_path
from hseie.route_table import ROUTES
from hseie.web import SMALL_BODY_BYTES_MAX
from tests.described import check_described
from tests.integration.acceptor_door import Door

TIME = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
GOOD = {"meterId": "METER_001", "kwhConsumedAc": 10.5, "voltage": 230, "timestamp": TIME}
BAD = {**GOOD, "voltage": 501}


@pytest.fixture
def run_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hseie-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def door(run_dir: Path) -> AsyncIterator[Door]:
    door = await Door(run_dir).open()
    yield door
    await door.close()


async def test_one_reading(door: Door) -> None:
    status, answer, _ = await door.post(GOOD)
    assert (status, answer["success"], answer["meterId"], answer["timestamp"]) == (202, True, "METER_001", TIME)
    assert answer["mode"] == "queued"
    assert answer["jobId"] == f"0-{door.writer.journal.last_seq}"


async def test_the_same_again_is_a_success_that_says_so(door: Door) -> None:
    await door.post(GOOD)
    status, answer, _ = await door.post(GOOD)
    assert (status, answer["success"], answer["duplicate"]) == (202, True, True)


async def test_a_batch_with_a_bad_item(door: Door) -> None:
    status, answer, _ = await door.post([GOOD, BAD, {**GOOD, "meterId": "M2"}, GOOD])
    assert (status, answer["accepted"], answer["duplicates"], answer["rejected"]) == (207, 2, 1, 1)
    assert [(error["index"], error["pointer"], error["code"]) for error in answer["errors"]] == [
        (1, "/voltage", "out_of_range")
    ]


async def test_nothing_good_is_a_problem_and_reaches_no_journal(door: Door) -> None:
    last = door.writer.journal.last_seq
    for body in (BAD, [BAD, BAD]):
        status, answer, headers = await door.post(body)
        assert (status, headers["Content-Type"]) == (400, "application/problem+json")
        assert answer["errors"][0]["pointer"] == "/voltage"
    assert door.writer.journal.last_seq == last


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/json; charset=latin-1"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/json; charset=utf-8"}, 202, None),
    ],
)
async def test_media_types(door: Door, headers: dict[str, str], status: int, code: str | None) -> None:
    got, answer, _ = await door.post(GOOD, **headers)
    assert (got, answer.get("code")) == (status, code)


async def test_a_body_beyond_the_limit(run_dir: Path) -> None:
    door = await Door(run_dir, HTTP__BODY_BYTES_MAX="10000").open()
    status, answer, _ = await door.post([GOOD] * 200)
    assert (status, answer["code"]) == (413, "too_large")
    await door.close()


async def test_a_batch_beyond_the_limit(run_dir: Path) -> None:
    door = await Door(run_dir, HTTP__BATCH_READINGS_MAX="10").open()
    status, answer, _ = await door.post([GOOD] * 11)
    assert (status, answer["code"]) == (413, "batch_too_large")
    await door.close()


async def test_waiting_for_the_commit(door: Door) -> None:
    post = asyncio.ensure_future(door.post(GOOD, Prefer="wait=10"))
    async with asyncio.timeout(10):
        while not door.link.frames_to_commit:
            await asyncio.sleep(0.01)
    assert not post.done()
    door.writer.intake.committed(door.writer.journal.last_seq)
    status, answer, headers = await post
    assert (status, answer["mode"], headers["Preference-Applied"]) == (201, "direct", "wait=10")


async def test_who_waits_hears_of_the_own_parked_readings_and_of_no_others(door: Door) -> None:
    bodies = [GOOD, [{**GOOD, "meterId": "M1"}, {**GOOD, "meterId": "M2"}], {**GOOD, "meterId": "M3"}]
    posts = [asyncio.ensure_future(door.post(body, Prefer="wait=10")) for body in bodies]
    async with asyncio.timeout(10):
        while door.writer.pending.waiting[0] < 4 or door.link.frames_in_flight:
            await asyncio.sleep(0.01)
    # Which of them share a frame is a matter of turns; the lines of each frame are looked up as the writer has them.
    entries = await door.writer.journal.read(door.writer.journal.oldest_seq - 1, door.writer.journal.last_seq, 1 << 20)
    parked: dict[int, dict[int, list[int]]] = {}
    for seq, entry in enumerate(entries, start=door.writer.journal.oldest_seq):
        rows = parse_frame(decode(entry.body)).parts[0].rows.splitlines()
        parked[seq] = {0: [index for index, row in enumerate(rows) if row.startswith((b"M2", b"M3"))]}
    door.writer.intake.committed(door.writer.journal.last_seq, parked)
    (one, first, headers), (many, second, _), (other, third, _) = await asyncio.gather(*posts)
    assert (one, first["mode"], first.get("deadLettered")) == (201, "direct", None)
    assert (many, second["accepted"], second["mode"], second["deadLettered"]) == (202, 2, "queued", 1)
    assert (other, third["mode"], third["deadLettered"]) == (202, "queued", 1)
    assert headers["Preference-Applied"] == "wait=10"


async def test_a_wait_that_is_not_met_is_an_honest_202(door: Door) -> None:
    status, answer, headers = await door.post(GOOD, Prefer="wait=0")
    assert (status, answer["mode"], "Preference-Applied" in headers) == (202, "queued", False)


async def test_waiting_by_default_and_not_on_request(run_dir: Path) -> None:
    door = await Door(run_dir, INGEST__ACK="commit", INGEST__COMMIT_TIMEOUT_MS="300").open()
    assert (await door.post(GOOD))[1]["mode"] == "queued"  # nobody commits here
    status, _, headers = await door.post(GOOD, Prefer="respond-async")
    assert (status, headers["Preference-Applied"]) == (202, "respond-async")
    await door.close()


async def test_a_draining_acceptor_says_so(door: Door) -> None:
    door.routes.draining = True
    status, answer, headers = await door.post(GOOD)
    assert (status, answer["code"]) == (503, "draining")
    assert 1 <= int(headers["Retry-After"]) <= 60


async def test_too_many_requests_in_flight(run_dir: Path) -> None:
    door = await Door(run_dir, HTTP__REQUESTS_IN_FLIGHT_MAX="3").open()
    waiting = [asyncio.ensure_future(door.post(GOOD, Prefer="wait=20")) for _ in range(3)]
    async with asyncio.timeout(10):
        while door.routes.counts.in_flight < 3:
            await asyncio.sleep(0.01)
    status, answer, headers = await door.post(GOOD)
    assert (status, answer["code"]) == (503, "overloaded")
    assert 1 <= int(headers["Retry-After"]) <= 60
    async with asyncio.timeout(10):
        while door.link.frames_to_commit == 0:
            await asyncio.sleep(0.01)
    door.writer.intake.committed(door.writer.journal.last_seq)
    assert [answer[0] for answer in await asyncio.gather(*waiting)] == [201, 201, 201]
    await door.close()


async def test_a_refusal_tells_when_there_may_be_room(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both ways: the writer's word about a frame, and the link's own about a request.
    monkeypatch.setattr(door.writer.intake, "_reason_to_refuse", lambda boot: "journal_full")
    monkeypatch.setattr(door.writer.intake, "_seconds_to_room", lambda reason: 20.0)
    status, answer, headers = await door.post(GOOD)
    assert (status, answer["code"]) == (503, "journal_full")
    assert 20 <= int(headers["Retry-After"]) <= 31
    monkeypatch.setattr(door.link, "add", lambda kind, rows, wait: Refusal("overloaded", 10.0))
    status, answer, headers = await door.post(GOOD)
    assert (status, answer["code"]) == (503, "overloaded")
    assert 10 <= int(headers["Retry-After"]) <= 16


async def test_a_lost_writer_is_503(door: Door) -> None:
    door.link.boot = None
    status, answer, headers = await door.post(GOOD)
    assert (status, answer["code"]) == (503, "writer_unavailable")
    assert 1 <= int(headers["Retry-After"]) <= 60


async def test_only_post_on_an_ingest_route(door: Door) -> None:
    for method in ("GET", "PUT", "DELETE"):
        async with door.client.request(method, "/v1/ingest/vehicle") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_other_requests_are_passed_on(door: Door) -> None:
    async with door.client.get("/v1/analytics/stats?a=1&b=%20") as answer:
        assert await answer.json() == {"path": "/v1/analytics/stats?a=1&b=%20", "method": "GET"}
        assert answer.headers["X-From"] == "analytics"
    assert door.proxy.answers == {200: 1}


async def test_without_analytics_questions_are_503_and_readings_are_taken(door: Door) -> None:
    await door.analytics.cleanup()
    async with door.client.get("/v1/analytics/stats") as answer:
        body = await answer.json(content_type=None)
        check_described(door.described, "get", "/v1/analytics/stats", answer.status, answer.headers, body)
        assert (answer.status, body["code"]) == (503, "analytics_unavailable")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert door.proxy.answers == {503: 1}
    assert (await door.post(GOOD))[0] == 202


async def test_liveness_needs_nobody_else(door: Door) -> None:
    await door.analytics.cleanup()
    async with door.client.get("/livez") as answer:
        assert answer.status == 200


async def test_the_routes_are_those_of_the_description(door: Door) -> None:
    app = door.client.app
    assert app is not None
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "*"
    } - {("get", "/livez"), ("head", "/livez")}
    assert served == {(route.method, route.path) for route in ROUTES if route.served_by == "acceptor"}


async def test_a_compressed_body_is_inflated(door: Door) -> None:
    assert (await door.post(gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip"))[0] == 202


async def test_a_damaged_or_unknown_encoding_is_refused(door: Door) -> None:
    packed = gzip.compress(json.dumps([GOOD] * 50).encode())
    for body in (b"\x00" + packed, b"not gzip"):
        status, answer, _ = await door.post(body, Content_Encoding="gzip")
        assert (status, answer["code"]) == (400, "bad_encoding")
    status, answer, _ = await door.post(packed, Content_Encoding="compress")
    assert (status, answer["code"]) == (415, "unsupported_media_type")


async def test_the_limit_counts_inflated_bytes(run_dir: Path) -> None:
    door = await Door(run_dir, HTTP__BODY_BYTES_MAX="10000").open()
    status, answer, _ = await door.post(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip")
    assert (status, answer["code"]) == (413, "too_large")
    await door.close()


async def test_who_waits_for_a_commit_when_the_acceptor_goes_gets_the_receipt_of_the_journal(door: Door) -> None:
    waiting = asyncio.ensure_future(door.post(GOOD, Prefer="wait=30"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    door.routes.parting = True
    async with asyncio.timeout(10):
        status, body, headers = await waiting
    assert (status, body["mode"]) == (202, "queued")
    assert "Preference-Applied" not in headers


async def test_changes_are_passed_on_with_their_bodies(door: Door) -> None:
    for method, body, type_ in (("PUT", b'{"meterId": "A"}', "application/json"), ("DELETE", b"", "")):
        headers = {"Content-Type": type_} if type_ else {}
        async with door.client.request(method, "/v1/pairs/V?a=1", data=body or None, headers=headers) as answer:
            assert await answer.json() == {"path": "/v1/pairs/V?a=1", "method": method}
        assert door.seen.pop() == (method, body, type_)
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with door.client.put("/v1/pairs/V", data=gzip.compress(b"{}"), headers=packed) as answer:
        assert answer.status == 200
    assert door.seen.pop()[1] == b"{}"  # aiohttp inflates for the stand-in, which was told of the coding


async def test_a_change_with_too_large_a_body_is_not_passed_on(door: Door) -> None:
    async with door.client.put("/v1/pairs/V", data=b" " * SMALL_BODY_BYTES_MAX) as answer:
        assert answer.status == 200
    for body in (b" " * (SMALL_BODY_BYTES_MAX + 1), _pieces(SMALL_BODY_BYTES_MAX + 1)):
        async with door.client.put("/v1/pairs/V", data=body) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (413, "too_large")
    assert len(door.seen) == 1


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size):
        yield b" "


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_change_is_sent_once_whatever_becomes_of_it(door: Door, run_dir: Path, method: str) -> None:
    """An answer that does not come leaves open whether it was done: whoever asked may ask again, and nobody for him."""
    await door.analytics.cleanup()
    heads: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readline())
        writer.close()

    analytics_path(run_dir).unlink(missing_ok=True)
    server = await asyncio.start_unix_server(hang_up, analytics_path(run_dir))
    body = b'{"meterId": "A"}' if method == "PUT" else None
    for attempt in (1, 2):
        async with door.client.request(method, "/v1/pairs/V", data=body) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "analytics_unavailable")
        assert heads == [f"{method} /v1/pairs/V HTTP/1.1\r\n".encode()] * attempt
    server.close()
