"""The server's certificate: what is wrong with its files, what is taken of them while connections are open; and the
handshakes of an HTTPS server."""

import asyncio
import datetime
import errno
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from hseie import handshakes
from hseie.config import Tls
from hseie.errors import CertificateError
from hseie.http_connection import client_name
from hseie.http_server import Server, start_server
from hseie.ports import bind, bind_unix
from hseie.tls import Certificates, certificate_figures, common_name, open_certificates, read
from hseie.web import new_app
from tests.system.certificates import HOST, Authority, Pair

NOW = datetime.datetime.now(datetime.UTC).timestamp()
DAY_S = 86_400.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    pair.write(*authority.server())
    return pair


@pytest.fixture
def tls(pair: Pair) -> Tls:
    return Tls(certificate=str(pair.certificate), key=str(pair.key))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_good_pair_makes_a_context_for_servers(tls: Tls, authority: Authority) -> None:
    found = read(tls, NOW)
    assert found.expires_at == pytest.approx(NOW + 365 * DAY_S, abs=3600)
    context = found.context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_NONE
    for wanted, mode in (("required", ssl.CERT_REQUIRED), ("optional", ssl.CERT_OPTIONAL)):
        asking = msgspec.structs.replace(tls, client_ca=str(authority.file), client_certificates=wanted)
        context = read(asking, NOW).context
        assert (context.verify_mode, len(context.get_ca_certs())) == (mode, 1)
        assert context.num_tickets == 0
        assert context.options & ssl.OP_NO_TICKET


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("certificate", None, r"tls\.certificate, .*server\.pem, cannot be read: No such file"),
        ("certificate", b"", r"tls\.certificate, .*server\.pem, holds no certificate"),
        ("certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
        ("key", None, r"tls\.key, .*server-key\.pem, cannot be read: No such file"),
        ("key", b"nothing", r"tls\.key, .*server-key\.pem, holds no private key"),
        ("key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_name(
    tls: Tls, key: str, content: bytes | None, message: str
) -> None:
    file = Path(getattr(tls, key))
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(CertificateError, match=message):
        read(tls, NOW)


def test_the_key_of_another_certificate_is_not_taken(tls: Tls, authority: Authority) -> None:
    Path(tls.key).write_bytes(authority.server()[1])
    with pytest.raises(CertificateError, match=r"server-key\.pem, is not that of the certificate in .*server\.pem"):
        read(tls, NOW)


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(tls: Tls) -> None:
    key = load_pem_private_key(Path(tls.key).read_bytes(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        Path(tls.key).write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x")))
        with pytest.raises(CertificateError, match="has a password"):
            read(tls, NOW)


def test_time_counts_where_it_is_given(tls: Tls) -> None:
    with pytest.raises(CertificateError, match="has expired: "):
        read(tls, NOW + 366 * DAY_S)
    with pytest.raises(CertificateError, match=r"is not good before .* clock"):
        read(tls, NOW - 3 * DAY_S)
    assert read(tls).expires_at > NOW


def test_authorities_that_are_none(tls: Tls, tmp_path: Path) -> None:
    asking = msgspec.structs.replace(tls, client_ca=str(tmp_path / "clients.pem"))
    with pytest.raises(CertificateError, match=r"tls\.client_ca, .*clients\.pem, cannot be read"):
        read(asking, NOW)
    (tmp_path / "clients.pem").write_text("nobody")
    with pytest.raises(CertificateError, match=r"tls\.client_ca, .*clients\.pem, holds no certificates"):
        read(asking, NOW)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, None),
        ({}, None),
        ({"subject": ()}, ""),
        ({"subject": ((("organizationName", "x"),),)}, ""),
        ({"subject": ((("organizationName", "x"),), (("commonName", "D:1"),))}, "D:1"),
        ({"subject": ((("commonName", "D:1"),), (("commonName", "D:2"),))}, ""),
    ],
)
def test_whom_a_certificate_is_for(certificate: dict[str, object] | None, name: str | None) -> None:
    assert common_name(certificate) == name


# --- renewal ----------------------------------------------------------------------------------------------------------


def test_without_tls_there_is_nothing_to_look_after() -> None:
    assert open_certificates(Tls()) is None
    assert certificate_figures(None) == {
        "certificate_expires_at": 0,
        "certificate_stale": 0,
        "certificate_trouble": "",
    }


def test_a_renewal_is_taken_and_a_broken_one_told_at_the_second_look(
    tls: Tls, pair: Pair, authority: Authority
) -> None:
    certificates = Certificates(tls, lambda: NOW)
    first = certificates.expires_at
    certificates.look()
    assert certificates.expires_at == first
    certificate, key = authority.server(days=30)
    pair.certificate.write_bytes(certificate)  # the key comes later
    with capture_logs() as logs:
        certificates.look()
        assert (certificates.trouble, logs) == ("", [])
        for _ in range(3):
            certificates.look()
            assert certificate_figures(certificates)["certificate_stale"] == 1
        assert [entry["event"] for entry in logs] == ["certificate_not_renewed"]
        assert certificates.expires_at == first
        pair.key.write_bytes(key)
        for _ in range(2):
            certificates.look()
    assert [entry["event"] for entry in logs] == ["certificate_not_renewed", "certificate_renewed"]
    assert certificates.trouble == ""
    assert certificates.expires_at == pytest.approx(NOW + 30 * DAY_S, abs=3600)


def test_what_has_expired_is_not_taken_but_served_at_a_start(tls: Tls, pair: Pair, authority: Authority) -> None:
    pair.write(*authority.server(days=-0.5, begins_in_days=-2))
    certificates = Certificates(tls, lambda: NOW)
    assert certificates.expires_at < NOW
    pair.write(*authority.server(days=-0.25, begins_in_days=-2))
    before = certificates.expires_at
    for _ in range(2):
        certificates.look()
    assert certificates.expires_at == before
    assert "has expired" in certificates.trouble


def test_files_that_are_gone_and_come_back_are_no_trouble_any_more(tls: Tls, pair: Pair) -> None:
    certificates = Certificates(tls, lambda: NOW)
    aside = pair.key.with_suffix(".aside")
    pair.key.rename(aside)
    for _ in range(2):
        certificates.look()
    assert "cannot be read" in certificates.trouble
    aside.rename(pair.key)
    certificates.look()
    assert certificates.trouble == ""


# --- serving ----------------------------------------------------------------------------------------------------------


async def _who(request: web.Request) -> web.Response:
    return web.json_response(client_name(request))


async def serve(context: ssl.SSLContext, **options: object) -> Server:
    app = new_app(1000)
    app.router.add_get("/who", _who)
    return await start_server(
        app,
        HOST,
        0,
        reuse_port=False,
        keepalive_s=60.0,
        ssl_context=context,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
async def certificates(tls: Tls, authority: Authority) -> Certificates:
    asking = msgspec.structs.replace(tls, client_ca=str(authority.file), client_certificates="optional")
    return Certificates(asking, lambda: NOW)


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[Server]:
    server = await serve(certificates.context, connections_max=4)
    yield server
    await server.stop(1.0)


async def ask(port: int, authority: Authority, client: Path | None = None, name: str | None = None) -> bytes:
    """The body of an answer to a request over HTTPS; with `name`, what an acceptor would say of the client."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if client is not None:
        context.load_cert_chain(str(client))
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        told = f"X-HSEIE-Client-Name: {name}\r\n" if name is not None else ""
        writer.write(f"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{told}\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer.rpartition(b"\r\n\r\n")[2]


async def test_a_connection_knows_whose_certificate_it_was_shown(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    assert await ask(server.port, authority) == b"null"
    assert await ask(server.port, authority, authority.client("D:1")) == b'"D:1"'
    assert await ask(server.port, authority, authority.client("D:1"), name="D:2") == b'"D:1"'
    assert await ask(server.port, authority, name="D:2") == b"null"
    stranger = Authority(tmp_path / "other", "other").client("D:1")
    with pytest.raises((OSError, AssertionError)):
        assert await ask(server.port, authority, stranger)
    assert server.handshake_figures()["handshakes_failed"] == 1


async def test_an_authority_that_is_renewed_away_is_not_believed_any_more(
    server: Server, certificates: Certificates, authority: Authority, tmp_path: Path
) -> None:
    client = authority.client("D:1")
    assert await ask(server.port, authority, client) == b'"D:1"'
    other = Authority(tmp_path / "other", "other")
    server_only = authority.file.read_bytes()
    authority.file.write_bytes(other.file.read_bytes())
    certificates.look()
    (tmp_path / "servers.pem").write_bytes(server_only)
    authority.file = tmp_path / "servers.pem"
    with pytest.raises((OSError, AssertionError)):
        assert await ask(server.port, authority, client)
    assert await ask(server.port, authority, other.client("D:1")) == b'"D:1"'


async def test_inside_the_node_the_name_is_told_in_plain_http(certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "inside.sock"
    server = await serve(certificates.context, sockets=[*bind(HOST, 0), bind_unix(path)])
    for told, expected in (("X-HSEIE-Client-Name: D%3A1%0D%0A\r\n", b'"D:1\\r\\n"'), ("", b"null")):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{told}\r\n".encode())
        assert (await reader.read()).endswith(b"\r\n\r\n" + expected)
        writer.close()
    await server.stop(1.0)


async def test_connections_that_are_not_secured_count_and_those_above_the_limit_are_closed(
    server: Server, authority: Authority
) -> None:
    assert await ask(server.port, authority) == b"null"
    stalled = [await asyncio.open_connection(HOST, server.port) for _ in range(4)]
    async with asyncio.timeout(10):
        while server.connections < 4:
            await asyncio.sleep(0.01)
    with pytest.raises(OSError):
        await ask(server.port, authority)
    assert (server.handshake_figures()["handshakes"], server.entrance.ended["turned_away"]) == (4, 1)
    for _, writer in stalled:
        writer.close()
    async with asyncio.timeout(10):
        while server.connections:
            await asyncio.sleep(0.01)
    assert await ask(server.port, authority) == b"null"


async def test_a_handshake_has_its_time(
    certificates: Certificates, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_TIMEOUT_S", 0.3)
    server = await serve(certificates.context)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    assert server.handshake_figures()["handshakes_failed"] == 1
    assert await ask(server.port, authority) == b"null"
    await server.stop(1.0)


async def test_what_waits_in_the_socket_of_another_is_secured_too(server: Server, authority: Authority) -> None:
    orphaned = bind(HOST, 0)[0]
    orphaned.listen()
    asking = asyncio.ensure_future(ask(orphaned.getsockname()[1], authority))
    while not asking.done():
        await server.take_waiting(orphaned)
        await asyncio.sleep(0.01)
    assert await asking == b"null"
    orphaned.close()


async def test_a_stop_ends_handshakes_and_frees_the_port(certificates: Certificates) -> None:
    server = await serve(certificates.context)
    reader, writer = await asyncio.open_connection(HOST, server.port)
    while not server.connections:
        await asyncio.sleep(0.01)
    await server.stop(1.0)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port), timeout=5)


async def test_without_files_for_sockets_those_that_wait_are_taken_later(
    certificates: Certificates, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "_ACCEPT_AGAIN_S", 0.2)
    bound = bind(HOST, 0)
    loop = asyncio.get_running_loop()
    refused_at: list[float] = []

    class Poor(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if len(refused_at) < 3:
                refused_at.append(loop.time())
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    poor = Poor(bound[0].family, bound[0].type, bound[0].proto, fileno=bound[0].detach())
    poor.setblocking(False)
    server = await serve(certificates.context, sockets=[poor])
    assert await ask(server.port, authority) == b"null"
    assert all(second - first > 0.1 for first, second in itertools.pairwise(refused_at)), "it does not spin"
    await server.stop(1.0)
