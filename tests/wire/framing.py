"""Rows about what is no HTTP, or HTTP that two readers could take for two things: whole requests as bytes."""

from typing import Any

from tests.wire.row import MARKER, Row, reading, stored

GOOD = reading()
NO_HTTP: dict[str, Any] = {"status": 400, "code": "bad_request", "closed": True}
TOO_LARGE: dict[str, Any] = {"status": 431, "code": "head_too_large", "closed": True}
TAKEN: dict[str, Any] = {"status": 202, "stores": (stored(),)}
POST = "POST /v1/ingest/meter HTTP/1.1"
_TYPE = "Content-Type: application/json"
# The length of GOOD once its places are filled in.
_LENGTH = len(GOOD.replace("@ID@", "row.12345678").replace("@0@", "2026-02-09T12:00:00Z"))


def _raw(name: str, *head: str | bytes, body: str | bytes = b"", end: bytes = b"\r\n", **expected: Any) -> Row:
    lines = [line.encode("latin-1") if isinstance(line, str) else line for line in head]
    content = body.encode() if isinstance(body, str) else body
    method = lines[0].split(b" ")[0].decode("latin-1")
    return Row(
        name=f"http: {name}", method=method, raw=b"".join(line + end for line in [*lines, b""]) + content, **expected
    )


def _post(name: str, *head: str | bytes, body: str | bytes = GOOD, line: str = POST, **expected: Any) -> Row:
    return _raw(name, line, "Host: localhost", _TYPE, *head, body=body, **expected)


def _get(name: str, *head: str | bytes, line: str = "GET /livez HTTP/1.1", **expected: Any) -> Row:
    return _raw(name, line, "Host: localhost", *head, **expected)


_SIZED = f"Content-Length: {_LENGTH}"
_CHUNKED = "Transfer-Encoding: chunked"
_IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (_LENGTH, GOOD.encode())

_LENGTHS = (
    *(
        _post(f"Content-Length {name}", f"Content-Length: {text}", **NO_HTTP)
        for name, text in {
            "negative": "-1",
            "a word": MARKER,
            "with a plus": f"+{_LENGTH}",
            "hexadecimal": "0x10",
            "with a point": "5.0",
            "twice in one": f"{_LENGTH}, {_LENGTH}",
            "empty": "",
            "huge": "9" * 40,
            "with a blank inside": "1 0",
        }.items()
    ),
    _post("two Content-Lengths that agree", _SIZED, _SIZED, **NO_HTTP),
    _post("two Content-Lengths that do not", _SIZED, "Content-Length: 5", **NO_HTTP),
    _post("a length and chunks", _SIZED, _CHUNKED, body=_IN_CHUNKS, **NO_HTTP),
)

_CHUNKS = (
    *(
        _post(f"Transfer-Encoding {name}", f"Transfer-Encoding: {text}", body=_IN_CHUNKS, **NO_HTTP)
        for name, text in {
            "unknown": MARKER,
            "that only looks like chunked": "xchunked",
            "identity": "identity",
            "chunked twice": "chunked, chunked",
            "chunked, and not last": "chunked, gzip",
        }.items()
    ),
    *(
        _post(f"chunk {name}", _CHUNKED, body=body, **NO_HTTP)
        for name, body in {
            "with a size that is no number": b"zz\r\n{}\r\n0\r\n\r\n",
            "with a negative size": b"-2\r\n{}\r\n0\r\n\r\n",
            "with a plus before its size": b"+2\r\n{}\r\n0\r\n\r\n",
            "with 0x before its size": b"0x2\r\n{}\r\n0\r\n\r\n",
            "with a size beyond everything": b"fffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
            "longer than it says": b"1\r\n{}\r\n0\r\n\r\n",
            "without a size": b"\r\n{}\r\n0\r\n\r\n",
        }.items()
    ),
    _post("chunk with an extension", _CHUNKED, body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (_LENGTH, GOOD.encode()), **TAKEN),
    _post(
        "chunks of a byte each, with a trailer",
        _CHUNKED,
        "Trailer: X-A",
        body=b"2\r\n[]\r\n0\r\nX-A: 1\r\n\r\n",
        status=400,
        code="empty_batch",
    ),
)

_HEADS = (
    _get("a header without a colon", MARKER, **NO_HTTP),
    _get("a blank before the colon", "X-A : 1", **NO_HTTP),
    _get("a blank in a name", "X A: 1", **NO_HTTP),
    _get("a header that goes on in the next line", "X-A: 1", " 2", **NO_HTTP),
    _get("a header without a name", ": 1", **NO_HTTP),
    _get("a NUL in a value", "X-A: a\0b", **NO_HTTP),
    _get("a carriage return in a value", "X-A: a\rb", **NO_HTTP),
    _get("a control character in a name", "X\x01A: 1", **NO_HTTP),
    _get("a name of no ASCII", b"X-\xc3\xa9: 1", **NO_HTTP),
    _get("a header too long", f"X-A: {MARKER * 2000}", **TOO_LARGE),
    _get("too many headers", *(f"X-{number}: 1" for number in range(100)), **TOO_LARGE),
    _get("as many headers as there may be", *(f"X-{number}: 1" for number in range(60)), status=200),
    _get("two hosts", "Host: localhost", **NO_HTTP),
    _raw("lines that end in newlines only", "GET /livez HTTP/1.1", "Host: localhost", end=b"\n", **NO_HTTP),
)

_LINES = (
    *(
        _get(name, line=line, **NO_HTTP)
        for name, line in {
            "a method that nobody knows": "BREW /livez HTTP/1.1",
            "a method in small letters": "get /livez HTTP/1.1",
            "a method with a control character": "G\x01T /livez HTTP/1.1",
            "a version that nobody knows": "GET /livez HTTP/9.9",
            "a version that only looks like one of these": "GET /livez HTTP/2.0",
            "a version of something else": f"GET /livez {MARKER}/1.1",
            "a blank in the path": "GET /livez now HTTP/1.1",
            "a path without its slash": "GET livez HTTP/1.1",
            "an empty path": "GET  HTTP/1.1",
            "a control character in the path": "GET /liv\x01ez HTTP/1.1",
        }.items()
    ),
    _get("a path too long", line=f"GET /{MARKER * 2000} HTTP/1.1", **TOO_LARGE),
    _get("a NUL in front", line="\0GET /livez HTTP/1.1", **NO_HTTP),
    _get("a whole address as path", line="GET http://localhost/livez HTTP/1.1", status=200),
    _get("a whole address of somebody else", line="GET http://elsewhere.example/livez HTTP/1.1", status=200),
    _get("the old version", line="GET /livez HTTP/1.0", status=200, closed=True),
    _post("a reading with the old version", _SIZED, line="POST /v1/ingest/meter HTTP/1.0", closed=True, **TAKEN),
    _get("no version", line="GET /livez", **NO_HTTP),
    _get("two blanks", line="GET  /livez HTTP/1.1", status=200),
    _get("a fragment", line=f"GET /livez#{MARKER} HTTP/1.1", status=200),
    _get("a fragment behind a question", line=f"GET /readyz?verbose#{MARKER} HTTP/1.1", status=404, code="not_found"),
    _get("every resource at once", line="OPTIONS * HTTP/1.1", status=404, code="not_found"),
    _get("a proxy's CONNECT", line="CONNECT localhost:80 HTTP/1.1", status=404, code="not_found"),
    _raw("no host", "GET /livez HTTP/1.1", **NO_HTTP),
)

_STRANGERS = tuple(
    Row(name=f"http: {name}", method="GET", raw=raw, **NO_HTTP)
    for name, raw in {
        "a greeting of TLS": bytes.fromhex("16030100c8010000c40303") + b"\x55" * 190,
        "a greeting of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a greeting of SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "a question of memcached": b"stats\r\n",
        "a message of MQTT": bytes.fromhex("101000044d5154540402003c000461626364") + b"\r\n",
        "a message of MQTT behind a line": b"\r\n" + bytes.fromhex("c000"),
        "zeros": b"\0" * 100,
        "ones": b"\xff" * 100,
    }.items()
)

LATE: dict[str, Any] = {"status": 408, "code": "request_timeout", "closed": True}

_BODIES = (
    _post(
        "an expectation that nobody knows",
        _SIZED,
        f"Expect: {MARKER}",
        status=417,
        code="expectation_failed",
        closed=True,
    ),
    _post("a body that is promised and does not come", "Content-Length: 5000", body="", **LATE),
    _post("a body that is promised and stops", "Content-Length: 5000", **LATE),
    _post("chunks that stop", _CHUNKED, body=b"20\r\n[", **LATE),
    _post("chunks that stop before their end", _CHUNKED, body=_IN_CHUNKS[:-5], **LATE),
)

ROWS = (*_LENGTHS, *_CHUNKS, *_HEADS, *_LINES, *_STRANGERS, *_BODIES)
