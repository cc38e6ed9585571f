"""The wire of an acceptor: NDJSON, both kinds at once, codings, preferences, and paths that are passed on."""

import asyncio
import gzip
import itertools
import json
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hseie.acceptor.routes import make_app
from hseie.http_server import start_server
from tests.integration.acceptor_door import Door

TIME = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
METERED = {"meterId": "METER_001", "kwhConsumedAc": 10.5, "voltage": 230, "timestamp": TIME}
DRIVEN = {"vehicleId": "CAR_001", "soc": 75.5, "kwhDeliveredDc": 9.5, "batteryTemp": 20, "timestamp": TIME}
BODY = json.dumps(METERED).encode()
NDJSON = "application/x-ndjson"


def _lines(*items: Any) -> bytes:
    return b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in items)


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


async def test_lines_are_a_batch_also_when_there_is_one(door: Door) -> None:
    types = [NDJSON, "application/ndjson", "application/jsonl", f"{NDJSON}; charset=UTF-8"]
    routes = [("/v1/ingest/meter", METERED), ("/v1/ingest/vehicle", DRIVEN), ("/v1/ingest", METERED)]
    for media_type, (path, item) in itertools.product(types, routes):
        for body in (_lines(item), json.dumps(item).encode()):
            status, answer, _ = await door.post(body, path, Content_Type=media_type)
            assert (status, answer["accepted"] + answer["duplicates"], answer["rejected"]) == (202, 1, 0)
            assert len(answer["jobIds"]) == 1


async def test_a_bad_line_is_named_and_the_others_are_stored(door: Door) -> None:
    body = b"\n" + _lines(
        METERED, b'{"meterId":', {**METERED, "voltage": 501, "x": 1}, b"", {**METERED, "meterId": "M2"}
    )
    status, answer, _ = await door.post(body, Content_Type=NDJSON)
    assert (status, answer["accepted"], answer["rejected"], answer["rejectedIndexes"]) == (207, 2, 2, [1, 2])
    assert [(error["index"], error["code"], error.get("pointer")) for error in answer["errors"]] == [
        (1, "bad_json", None),
        (2, "unknown_field", "/x"),
        (2, "out_of_range", "/voltage"),
    ]
    assert door.routes.counts.reading_errors == {"bad_json": 1, "unknown_field": 1, "out_of_range": 1}


async def test_lines_of_which_none_is_good_and_no_lines(door: Door) -> None:
    status, answer, headers = await door.post(_lines(b"{", METERED | {"voltage": "a"}), Content_Type=NDJSON)
    assert (status, headers["Content-Type"], answer["code"]) == (400, "application/problem+json", "all_rejected")
    assert [(error["index"], error["code"]) for error in answer["errors"]] == [(0, "bad_json"), (1, "bad_type")]
    for body in (b"", b"\n", b"\r\n \n"):
        status, answer, _ = await door.post(body, Content_Type=NDJSON)
        assert (status, answer["code"]) == (400, "empty_batch")


async def test_the_answers_taken_in_part_and_not_at_all_have_one_form(door: Door) -> None:
    bad = {**METERED, "voltage": 501}
    _, in_part, _ = await door.post([bad, METERED, bad])
    _, not_at_all, _ = await door.post([bad, bad])
    assert in_part["errors"][0] == not_at_all["errors"][0]
    assert set(in_part) - set(not_at_all) == {"mode", "jobIds"}
    assert (in_part["rejectedIndexes"], not_at_all["rejectedIndexes"]) == ([0, 2], [0, 1])


async def test_too_many_lines(run_dir: Path) -> None:
    door = await Door(run_dir, HTTP__BATCH_READINGS_MAX="10").open()
    for count, expected in ((10, 202), (11, 413)):
        status, answer, _ = await door.post(_lines(*[METERED] * count), Content_Type=NDJSON)
        assert (status, answer.get("code")) == (expected, "batch_too_large" if expected == 413 else None)
    await door.close()


async def test_both_kinds_at_once(door: Door) -> None:
    status, answer, _ = await door.post([METERED, DRIVEN, METERED, {"soc": 1}], "/v1/ingest")
    assert (status, answer["accepted"], answer["duplicates"], answer["rejected"]) == (207, 2, 1, 1)
    assert [(error["index"], error["code"]) for error in answer["errors"]] == [(3, "unknown_kind")]
    status, answer, _ = await door.post(_lines(DRIVEN, METERED), "/v1/ingest", Content_Type=NDJSON)
    assert (status, answer["accepted"], answer["duplicates"]) == (202, 0, 2)


async def test_one_reading_of_either_kind_is_answered_with_its_own_id(door: Door) -> None:
    status, answer, _ = await door.post(DRIVEN, "/v1/ingest")
    assert (status, answer["vehicleId"], "meterId" in answer) == (202, "CAR_001", False)
    status, answer, _ = await door.post(METERED, "/v1/ingest")
    assert (status, answer["meterId"], "vehicleId" in answer) == (202, "METER_001", False)
    status, answer, _ = await door.post({"voltage": 3}, "/v1/ingest")
    assert (status, answer["code"], answer["errors"][0]["code"]) == (400, "invalid_reading", "unknown_kind")
    assert "index" not in answer["errors"][0]


async def test_the_other_kind_on_a_route_of_one_kind_is_refused(door: Door) -> None:
    status, answer, _ = await door.post(DRIVEN)
    assert (status, {error["code"] for error in answer["errors"]}) == (400, {"unknown_field", "missing_field"})


async def test_only_post_on_the_route_of_all_kinds(door: Door) -> None:
    async with door.client.get("/v1/ingest") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_no_type_at_all_and_another(door: Door) -> None:
    async with door.client.post("/v1/ingest", data=BODY, skip_auto_headers=("Content-Type",)) as answer:
        assert answer.status == 415
        assert answer.headers["Accept"] == "application/json, application/x-ndjson"
        assert "no Content-Type" in (await answer.json(content_type=None))["detail"]
    status, answer_, headers = await door.post(METERED, Content_Type="text/csv")
    assert (status, answer_["code"], "Accept" in headers) == (415, "unsupported_media_type", True)


def _bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


_CODINGS = [
    (gzip.compress(BODY), "GZIP", 202, None),
    (gzip.compress(BODY), "x-gzip", 202, None),
    (gzip.compress(BODY[:20]) + gzip.compress(BODY[20:]), "gzip", 202, None),
    (zlib.compress(BODY), "deflate", 202, None),
    (_bare(BODY), "deflate", 202, None),
    (BODY, "identity", 202, None),
    (gzip.compress(BODY)[:-8], "gzip", 400, "bad_encoding"),
    (gzip.compress(BODY)[:-1], "gzip", 400, "bad_encoding"),
    (gzip.compress(BODY)[:30], "gzip", 400, "bad_encoding"),
    (gzip.compress(BODY) + b"\0", "gzip", 400, "bad_encoding"),
    (zlib.compress(BODY)[:-1], "deflate", 400, "bad_encoding"),
    (b"", "gzip", 400, "bad_encoding"),
    (BODY, "gzip", 400, "bad_encoding"),
    (gzip.compress(b""), "gzip", 400, "bad_json"),
    (gzip.compress(gzip.compress(BODY)), "gzip, gzip", 415, "unsupported_media_type"),
    (BODY, "br", 415, "unsupported_media_type"),
    (BODY, "zstd", 415, "unsupported_media_type"),
]


async def test_codings(door: Door) -> None:
    found = []
    for packed, coding, _, _ in _CODINGS:
        status, answer, headers = await door.post(packed, Content_Encoding=coding)
        assert headers.get("Accept-Encoding") == ("gzip, deflate" if status == 415 else None)
        found.append((packed, coding, status, answer.get("code")))
    assert found == _CODINGS


async def test_the_server_leaves_packed_bodies_to_the_route(door: Door) -> None:
    # The server as it is started in earnest: aiohttp would inflate a body without its end, and let it pass.
    server = await start_server(
        make_app(door.config, door.routes, door.proxy), "127.0.0.1", 0, reuse_port=False, keepalive_s=5.0
    )
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as session:
        for packed, status in ((gzip.compress(BODY), 202), (gzip.compress(BODY)[:-8], 400)):
            async with session.post("/v1/ingest", data=packed) as answer:
                assert answer.status == status
    await server.stop(1.0)


async def test_a_packed_body_in_chunks(door: Door) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        packed = gzip.compress(_lines(METERED, DRIVEN))
        for start in range(0, len(packed), 40):
            yield packed[start : start + 40]

    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    async with door.client.post("/v1/ingest", data=pieces(), headers=headers) as answer:
        assert (answer.status, (await answer.json())["accepted"]) == (202, 2)


async def test_preferences_in_several_headers_and_together(door: Door) -> None:
    async def post(*preferences: str) -> Any:
        headers = [("Content-Type", "application/json"), *(("Prefer", one) for one in preferences)]
        async with door.client.post("/v1/ingest", data=BODY, headers=headers) as answer:
            return answer.status, (await answer.json())["mode"], answer.headers.get("Preference-Applied")

    waiting = asyncio.ensure_future(post("respond-async", 'wait="10"'))
    async with asyncio.timeout(10):
        while not door.link.frames_to_commit:
            await asyncio.sleep(0.01)
    door.writer.intake.committed(door.writer.journal.last_seq)
    assert await waiting == (201, "direct", "wait=10")
    # Nobody commits any more.
    assert await post("respond-async, wait=0") == (202, "queued", "respond-async")
    assert await post("wait=0") == (202, "queued", None)
    assert await post("handling=strict", "respond-async;x=1") == (202, "queued", "respond-async")


_TARGETS = [
    "/v1/ingest/meter/../current",
    "/v1/ingest/meter/./current",
    "/v1/ingest/meter/.../current",
    "/v1/ingest/meter/%2e%2e/current",
    "/v1/ingest/meter/%2E/current",
    "/v1/ingest/meter/A:B/current",
    "/v1/ingest/meter/A%3AB/current",
    "/v1/ingest/meter/A%253AB/current",
    "/v1/ingest/meter/A%2FB/current",
    "/v1/ingest/meter/A%zz/current",
    "/v1/ingest/meter/%00/current",
    "/v1/ingest/meter/A%0D%0AB/current",
    "/v1/ingest/meter/A%E2%80%A8B/current",
    "/v1/ingest/meter/A//current",
    "/livez/../v1/audit",
    "//other.example/v1",
    "/..",
    "/v1/analytics/stats?a=%2B+%20&b=%41&c&d=;",
]


async def test_a_path_is_passed_on_as_it_was_sent(door: Door) -> None:
    answers = [await _raw_get(door, target) for target in _TARGETS]
    assert [(status, json.loads(body)["path"]) for status, body in answers] == [(200, target) for target in _TARGETS]


async def test_a_whole_address_is_passed_on_as_its_path_and_a_fragment_is_not(door: Door) -> None:
    status, body = await _raw_get(door, "http://other.example/v1/analytics/stats?a=1")
    assert (status, json.loads(body)["path"]) == (200, "/v1/analytics/stats?a=1")
    status, body = await _raw_get(door, "/v1/analytics/stats#x")
    assert (status, json.loads(body)["code"]) == (404, "not_found")


async def _raw_get(door: Door, target: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.client.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


async def test_both_kinds_in_one_frame_have_one_receipt(door: Door) -> None:
    status, answer, _ = await door.post(
        json.dumps([METERED, DRIVEN | {"vehicleId": "METER_001"}]).encode(), "/v1/ingest"
    )
    assert (status, answer["accepted"], len(answer["jobIds"])) == (202, 2, 1)  # one id is of one shard
