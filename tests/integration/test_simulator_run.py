"""Whole runs against a small server in this process, which answers as HSEIE does."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from simulator.driver import Driver
from simulator.http1 import Connection, NotSentError, Target, UnansweredError
from simulator.options import Options
from simulator.run import main, simulate

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/ingest/{kind}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def run(url: str, **options: Any) -> dict[str, Any]:
    given = {"fast": True, "concurrency": 4, "quiet": True} | options
    return await simulate(Options(url=url, **given), Console(quiet=True), lambda driver: None)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


async def test_every_reading_arrives_once_and_the_ledger_knows_it(tmp_path: Path) -> None:
    got: list[list[Any]] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Prefer"] == "wait"
        assert request.content_type == "application/json"
        kind = request.match_info["kind"]
        reading = await request.json()
        device, at = reading.pop(f"{kind}Id"), reading.pop("timestamp")
        got.append([kind, device, at, *reading.values()])
        return web.json_response({"success": True}, status=202)

    async with serving(answer) as url:
        ledger = tmp_path / "ledger"
        summary = await run(url, devices=5, ticks=8, ledger=str(ledger), prefer="wait")
    assert summary["requests"] == summary["readings"] == summary["accepted"] == 5 * 8 * 2
    assert summary["statuses"] == {"202": 80}
    assert summary["latency_ms"]["max"] > 0
    assert len({(kind, device, at) for kind, device, at, *_ in got}) == 80
    booked = [reading for entry in lines(ledger) for reading in entry["readings"]]
    assert sorted(map(str, booked)) == sorted(map(str, got))


async def test_the_same_seed_and_start_send_the_same_readings() -> None:
    bodies: list[Counter[bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        bodies[-1][await request.read()] += 1
        return web.json_response({"success": True}, status=202)

    async with serving(answer) as url:
        for seed in (1, 1, 2):
            bodies.append(Counter())
            await run(url, devices=3, ticks=4, seed=seed, start="2026-02-09T12:00:00Z")
    assert bodies[0] == bodies[1] != bodies[2]


async def test_a_server_that_is_busy_gets_the_same_bytes_again() -> None:
    seen: Counter[bytes] = Counter()

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        seen[body] += 1
        if seen[body] == 1:
            return web.Response(status=503, headers={"Retry-After": "0"})
        return web.json_response({"success": True}, status=201)

    async with serving(answer) as url:
        summary = await run(url, devices=2, ticks=2)
    assert set(seen.values()) == {2}
    assert len(seen) == 8
    assert summary["accepted"] == summary["requests"] == summary["retried"] == 8
    assert summary["statuses"] == {"201": 8, "503": 8}


async def test_a_server_that_stays_busy_is_given_up_on(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=429)

    async with serving(answer) as url:
        summary = await run(url, devices=1, ticks=1, attempts=3, ledger=str(tmp_path / "l"))
    assert (summary["failed"], summary["accepted"], summary["unknown"]) == (2, 0, 0)
    assert summary["statuses"] == {"429": 6}
    assert [(e["status"], e["outcome"], e["attempts"]) for e in lines(tmp_path / "l")] == [(429, "failed", 3)] * 2


async def test_a_server_that_asks_for_more_patience_than_there_is_is_not_asked_again() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "3600"})

    async with serving(answer) as url:
        summary = await run(url, devices=1, ticks=1)
    assert (summary["failed"], summary["retried"]) == (2, 0)


@pytest.mark.parametrize(("status", "count"), [(400, "rejected"), (404, "rejected"), (500, "failed")])
async def test_other_errors_are_final(status: int, count: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}, status=status, headers={"Retry-After": "1"})

    async with serving(answer) as url:
        summary = await run(url, devices=1, ticks=1)
    assert summary[count] == 2
    assert summary["retried"] == 0
    assert summary["statuses"] == {str(status): 2}


async def test_batches_are_booked_item_by_item(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        readings = await request.json()
        bad = [i for i, reading in enumerate(readings) if i % 3 == 0]
        found = {"accepted": len(readings) - len(bad) - 1, "duplicates": 1, "rejected": len(bad)}
        return web.json_response(found | {"errors": [{"index": i} for i in bad]}, status=207)

    async with serving(answer) as url:
        summary = await run(url, devices=10, ticks=2, batch=10, malformed_share=0.2, ledger=str(tmp_path / "l"))
    assert summary["requests"] == 4
    assert (summary["accepted"], summary["duplicates"], summary["rejected"]) == (20, 4, 16)
    assert summary["miscounted"] == 0
    entries = lines(tmp_path / "l")
    assert [entry["rejected_at"] for entry in entries] == [[0, 3, 6, 9]] * 4
    assert sum(len(entry["malformed"]) for entry in entries) == summary["malformed_sent"] > 0


async def test_a_connection_broken_before_the_answer_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(answer) as url:
        summary = await run(url, devices=1, ticks=1, attempts=2, ledger=str(tmp_path / "l"))
    assert (summary["unknown"], summary["failed"], summary["retried"]) == (2, 0, 2)
    assert [(e["status"], e["outcome"]) for e in lines(tmp_path / "l")] == [(None, "unknown")] * 2


async def test_doubt_ends_with_a_final_answer() -> None:
    seen: Counter[bytes] = Counter()

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        seen[body] += 1
        if seen[body] == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"accepted": 0, "duplicates": 1, "rejected": 0}, status=202)

    async with serving(answer) as url:
        summary = await run(url, devices=1, ticks=2)
    assert (summary["duplicates"], summary["unknown"], summary["retried"]) == (4, 0, 4)


async def test_a_silent_server_times_out() -> None:
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with serving(answer) as url:
        summary = await run(url, devices=1, ticks=1, attempts=1, timeout=0.1)
        release.set()
    assert summary["unknown"] == 2


async def test_a_paced_run_sends_history_first_and_then_each_reading_at_its_time() -> None:
    sizes: list[int] = []
    keys: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        readings = body if isinstance(body, list) else [body]
        sizes.append(len(readings) if isinstance(body, list) else 0)
        keys.extend((next(iter(reading.values())), reading["timestamp"]) for reading in readings)
        return web.json_response({"success": True}, status=202)

    async with serving(answer) as url:
        summary = await run(url, fast=False, devices=4, interval_ms=100, ticks=3, backfill_hours=0.01)
    # 36 s of history are 360 ticks; then three ticks live. Some of these may be over when the history is sent.
    assert len(keys) == len(set(keys)) == summary["accepted"] == 4 * 363 * 2
    assert max(sizes) == 500
    assert sizes[-1] == 0


async def test_a_stopped_run_ends_with_its_summary() -> None:
    started: list[Driver] = []
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count == 20:
            started[0].stop()
        return web.json_response({"success": True}, status=202)

    async with serving(answer) as url:
        options = Options(url=url, fast=True, devices=2, concurrency=3, quiet=True)
        summary = await simulate(options, Console(quiet=True), started.append)
    assert 20 <= summary["accepted"] == count <= 23


async def test_a_stop_interrupts_waiting_for_the_next_reading_and_for_a_retry() -> None:
    started: list[Driver] = []

    async def answer(request: web.Request) -> web.Response:
        asyncio.get_running_loop().call_later(0.05, started[0].stop)
        return web.Response(status=503, headers={"Retry-After": "50"})

    async with serving(answer) as url:
        options = Options(url=url, devices=1, interval_ms=80_000_000, concurrency=3, quiet=True)
        summary = await simulate(options, Console(quiet=True), started.append)
    assert (summary["requests"], summary["failed"]) == (1, 1)


async def test_no_server_is_one_line_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert await main(Options(url=url, wait=0.3)) == 2
    error = capsys.readouterr().err
    assert url in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_program_with_exit_code_zero_and_a_summary(number: int) -> None:
    busy = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        busy.set()
        return web.json_response({"success": True}, status=202)

    async with serving(answer) as url:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulator", "--fast", "--devices", "2", "--json", "-"),
            env={"API_URL": url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        await asyncio.wait_for(busy.wait(), 30)
        program.send_signal(number)
        output, error = await asyncio.wait_for(program.communicate(), 30)
    assert program.returncode == 0, error
    assert b"Traceback" not in error
    summary = json.loads(output)
    assert summary["accepted"] == summary["requests"] > 0
    assert summary["options"]["devices"] == 2


@asynccontextmanager
async def raw_server(*answers: bytes | None) -> AsyncIterator[tuple[Target, list[int]]]:
    """Answers each request with the next of these bytes, in pieces, on whatever connection; None closes it."""
    left = list(answers)
    connections: list[int] = []
    tasks: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        connections.append(0)
        while await reader.read(65536):
            connections[-1] += 1
            answer = left.pop(0)
            if answer is None:
                break
            for i in range(0, len(answer), 16):
                writer.write(answer[i : i + 16])
                await writer.drain()
                await asyncio.sleep(0)
            if answer.endswith(b"!"):
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Target("127.0.0.1", server.sockets[0].getsockname()[1], ""), connections
        await asyncio.gather(*tasks, return_exceptions=True)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with raw_server(OK, OK, OK) as (target, connections):
        connection = await Connection.open(target, 5)
        for _ in range(3):
            assert (await connection.exchange(b"x")).body == b"body"
        assert connection.is_open
        connection.close()
    assert connections == [3]


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nbody!"])
async def test_a_connection_closed_before_or_in_the_answer(answer: bytes | None) -> None:
    async with raw_server(answer) as (target, _):
        connection = await Connection.open(target, 5)
        with pytest.raises(UnansweredError):
            await connection.exchange(b"x")
        assert not connection.is_open
        with pytest.raises(NotSentError):
            await connection.exchange(b"x")


async def test_an_answer_that_ends_with_its_connection() -> None:
    async with raw_server(b"HTTP/1.0 200 OK\r\n\r\nall of it!") as (target, _):
        connection = await Connection.open(target, 5)
        assert (await connection.exchange(b"x")).body == b"all of it!"
        assert not connection.is_open


async def test_connection_close_is_honoured() -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") as (target, _):
        connection = await Connection.open(target, 5)
        assert (await connection.exchange(b"x")).status == 200
        assert not connection.is_open


async def test_garbage_breaks_the_connection() -> None:
    async with raw_server(b"hello\r\n\r\n") as (target, _):
        connection = await Connection.open(target, 5)
        with pytest.raises(UnansweredError):
            await connection.exchange(b"x")
        assert not connection.is_open
