"""The simulator against a server that speaks TLS or asks who it is."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from rich.console import Console

from simulator.options import Options
from simulator.run import EXIT_NO_ACCESS, EXIT_UNREACHABLE, main, simulate

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "hseie_0123456789abcdef_secret"


@asynccontextmanager
async def serving(answer: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/ingest/{kind}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def options(url: str, **more: Any) -> Options:
    given: dict[str, Any] = {
        "fast": True,
        "devices": 2,
        "ticks": 3,
        "concurrency": 2,
        "quiet": True,
        "attempts": 3,
        "wait": 0.5,
    }
    return Options(url=url, **(given | more))


async def run(url: str, **more: Any) -> dict[str, Any]:
    return await simulate(options(url, **more), Console(quiet=True), lambda driver: None)


async def accept(request: web.Request) -> web.Response:
    return web.json_response({"success": True}, status=202)


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def written(folder: Path, name: str, blob: trustme.Blob) -> str:
    blob.write_to_path(folder / name)
    return str(folder / name)


async def test_readings_arrive_over_tls_and_only_at_a_server_that_is_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    ca = written(tmp_path, "ca.pem", authority.cert_pem)
    other = written(tmp_path, "other.pem", trustme.CA().cert_pem)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.scheme)
        return await accept(request)

    async with serving(answer, server_context(authority)) as url:
        summary = await run(url, ca=ca)
        assert (summary["accepted"], asked) == (12, ["https"] * 12)
        # At once, whatever the wait: that the server is another one does not pass.
        async with asyncio.timeout(60):
            assert await main(options(url, ca=other, wait=600.0)) == EXIT_UNREACHABLE
            assert await main(options(url, wait=600.0)) == EXIT_UNREACHABLE
        refused = capsys.readouterr().err
        assert refused.count("--ca names the authority") == 2
        assert await main(options(url.replace("127.0.0.1", "localhost"), ca=ca)) == EXIT_UNREACHABLE
        assert await main(options(url.replace("https", "http"), ticks=1, attempts=1)) == 0
    assert len(asked) == 12


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = written(tmp_path, "ca.pem", authority.cert_pem)
    mine = written(tmp_path, "mine.pem", authority.issue_cert("device-1").private_key_and_cert_chain_pem)
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    async with serving(accept, context) as url:
        assert (await run(url, ca=ca, certificate=mine))["accepted"] == 12
        without = await run(url, ca=ca, attempts=1)
        assert (without["accepted"], without["statuses"]) == (0, {})


def test_a_locked_key_is_an_error_and_no_question_on_the_terminal(tmp_path: Path) -> None:
    chain = trustme.CA().issue_cert("device-1")
    opened = load_pem_private_key(chain.private_key_pem.bytes(), None)
    locked = opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    key = tmp_path / "locked.pem"
    key.write_bytes(locked + chain.cert_chain_pems[0].bytes())
    with pytest.raises(ValueError, match=r"locked\.pem"):
        options("https://127.0.0.1:1", certificate=str(key))


async def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        return await accept(request)

    shown = tmp_path / "summary"
    async with serving(answer) as url:
        given = options(url, key=KEY, json=str(shown), ledger=str(tmp_path / "ledger"), quiet=False)
        assert await main(given) == 0
    assert json.loads(shown.read_text())["accepted"] == 12
    written_out = capsys.readouterr()
    everything = [repr(given), *written_out, shown.read_text(), (tmp_path / "ledger").read_text()]
    assert not [text for text in everything if KEY in text]


@pytest.mark.parametrize("status", [401, 403])
async def test_no_access_is_final_told_at_once_and_in_the_exit_code(
    status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        told.append(capsys.readouterr().err)
        return web.json_response({"title": "No", "detail": "The key has expired."}, status=status)

    async with serving(answer) as url:
        assert await main(options(url, concurrency=1)) == EXIT_NO_ACCESS
    assert len(told) == 12  # no attempt more than requests
    assert [f"{status} The key has expired." in text for text in told] == [False, True] + [False] * 10
    assert "12 requests were refused access" in capsys.readouterr().err


async def test_no_access_after_an_attempt_without_an_answer_leaves_the_readings_in_doubt() -> None:
    attempts = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal attempts
        attempts += 1
        if attempts == 1:  # taken, and the answer lost
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"title": "No"}, status=401)

    async with serving(answer) as url:
        summary = await run(url, concurrency=1, devices=1, ticks=1)
    assert (summary["unknown"], summary["rejected"]) == (1, 1)


async def test_too_many_requests_are_sent_again_not_before_the_server_said() -> None:
    asked: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await accept(request)

    async with serving(answer) as url:
        summary = await run(url, concurrency=1, devices=1, ticks=1)
    assert (summary["accepted"], summary["retried"]) == (2, 1)
    assert asked[1] - asked[0] >= 1
