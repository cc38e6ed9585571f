"""Rows about what stands around a body: its type, its compression, its framing, the method, the path, the head."""

import gzip
import zlib

from hseie.readings import KINDS
from tests.wire.row import JSON, MARKER, Row, ingest_path, reading, stored

BODY_BYTES_MAX = 65_536
"""`http.body_bytes_max` of the node that the rows are sent to."""

GOOD = reading()


def _typed(*values: str) -> tuple[tuple[str, str], ...]:
    return tuple(("Content-Type", value) for value in values)


def _packed(name: str, pack, coding: str = "gzip", **expected) -> Row:
    return Row(
        name=f"encoding: {name}", body=GOOD, headers=(*JSON, ("Content-Encoding", coding)), pack=pack, **expected
    )


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def _bomb(body: bytes) -> bytes:
    return gzip.compress(b" " * 50_000_000 + body)


def _padded(size: int) -> str:
    return GOOD + " " * (size - 1000)


TAKEN = {"status": 202, "stores": (stored(),)}
UNTAKEN = {"status": 415, "code": "unsupported_media_type"}
DAMAGED = {"status": 400, "code": "bad_encoding"}

_TYPES = (
    *(
        Row(name=f"type: {name}", headers=_typed(*values), body=GOOD, **TAKEN)
        for name, values in {
            "application/json": ("application/json",),
            "in capitals": ("APPLICATION/JSON",),
            "with a charset": ("application/json; charset=utf-8",),
            "with a charset in capitals and quotes": ('application/json;charset="UTF-8"',),
            "with a parameter that nobody knows": ("application/json; profile=x",),
            "text/json": ("text/json",),
        }.items()
    ),
    *(
        Row(name=f"type: {name}", headers=_typed(*values), body=GOOD, **UNTAKEN)
        for name, values in {
            "none": (),
            "empty": ("",),
            "text/plain": ("text/plain",),
            "a form": ("application/x-www-form-urlencoded",),
            "multipart": ("multipart/form-data; boundary=x",),
            "XML": ("application/xml",),
            "anything": ("*/*",),
            "bytes": ("application/octet-stream",),
            "CBOR": ("application/cbor",),
            "half a type": ("application/",),
            "a type that begins like ours": ("application/json5",),
            "no type at all": (MARKER,),
            "Latin-1": ("application/json; charset=iso-8859-1",),
            "UTF-16": ("application/json; charset=utf-16",),
            "a charset that nobody knows": (f"application/json; charset={MARKER}",),
        }.items()
    ),
)

_ENCODINGS = (
    _packed("gzip", gzip.compress, **TAKEN),
    _packed("gzip in capitals", gzip.compress, "GZIP", **TAKEN),
    _packed("identity", bytes, "identity", **TAKEN),
    _packed("deflate", zlib.compress, "deflate", **TAKEN),
    _packed("gzip in two members", lambda body: gzip.compress(body[:30]) + gzip.compress(body[30:]), **TAKEN),
    _packed("a bomb", _bomb, status=413, code="too_large"),
    _packed(
        "a bomb of deflate", lambda body: zlib.compress(b" " * 50_000_000), "deflate", status=413, code="too_large"
    ),
    _packed(
        "inflates to one byte too many",
        lambda body: gzip.compress(b" " * (BODY_BYTES_MAX + 1)),
        status=413,
        code="too_large",
    ),
    _packed("inflates to exactly the limit", lambda body: gzip.compress(body.ljust(BODY_BYTES_MAX)), **TAKEN),
    _packed("a body that is no gzip", bytes, closed=True, **DAMAGED),
    _packed(
        "gzip that is damaged inside",
        lambda body: gzip.compress(body)[:12] + b"\xff\xff\xff\xff" + gzip.compress(body)[16:],
        closed=True,
        **DAMAGED,
    ),
    _packed("gzip that is cut off", lambda body: gzip.compress(body)[:-12], closed=True, **DAMAGED),
    _packed("gzip without its check sum", lambda body: gzip.compress(body)[:-8], closed=True, **DAMAGED),
    _packed("gzip with a wrong check sum", lambda body: gzip.compress(body)[:-8] + b"\0" * 8, closed=True, **DAMAGED),
    _packed("only a head of gzip", lambda body: gzip.compress(body)[:10], closed=True, **DAMAGED),
    _packed("garbage behind gzip", lambda body: gzip.compress(body) + MARKER.encode(), closed=True, **DAMAGED),
    _packed("gzip that says deflate", gzip.compress, "deflate", closed=True, **DAMAGED),
    _packed("gzip of nothing", lambda body: gzip.compress(b""), status=400, code="bad_json"),
    _packed("gzip of gzip", lambda body: gzip.compress(gzip.compress(body)), status=400, code="bad_json"),
    Row(name="encoding: gzip, and no body", headers=(*JSON, ("Content-Encoding", "gzip")), status=400, code="bad_json"),
    _packed("brotli", bytes, "br", **UNTAKEN),
    _packed("zstd", bytes, "zstd", **UNTAKEN),
    _packed("compress", bytes, "compress", **UNTAKEN),
    _packed("two of them", gzip.compress, "gzip, gzip", **UNTAKEN),
    _packed("one that nobody knows", bytes, MARKER, **UNTAKEN),
    Row(
        name="encoding: gzip in chunks",
        headers=(*JSON, ("Content-Encoding", "gzip")),
        body=GOOD,
        pack=gzip.compress,
        framing="chunked",
        **TAKEN,
    ),
    Row(
        name="encoding: a bomb in chunks",
        headers=(*JSON, ("Content-Encoding", "gzip")),
        body=GOOD,
        pack=_bomb,
        framing="chunked",
        status=413,
        code="too_large",
    ),
)

_SIZES = (
    Row(name="size: exactly the limit", body=GOOD, pack=lambda body: body.ljust(BODY_BYTES_MAX), **TAKEN),
    Row(
        name="size: a byte too many",
        body=GOOD,
        pack=lambda body: body.ljust(BODY_BYTES_MAX + 1),
        status=413,
        code="too_large",
    ),
    Row(
        name="size: exactly the limit, in chunks",
        body=GOOD,
        pack=lambda body: body.ljust(BODY_BYTES_MAX),
        framing="chunked",
        **TAKEN,
    ),
    Row(
        name="size: a byte too many, in chunks",
        body=GOOD,
        pack=lambda body: body.ljust(BODY_BYTES_MAX + 1),
        framing="chunked",
        status=413,
        code="too_large",
    ),
    Row(name="size: a megabyte", body=GOOD, pack=lambda body: body.ljust(1_000_000), status=413, code="too_large"),
    Row(name="chunks: one reading", body=GOOD, framing="chunked", **TAKEN),
    Row(name="chunks: none", body=b"", framing="chunked", status=400, code="bad_json"),
)

_METHODS = (
    *(
        Row(
            name=f"method: {method} of {kind.name}s",
            method=method,
            path=ingest_path(kind),
            headers=(),
            status=405,
            code="method_not_allowed",
            answer_has=("Allow: POST",),
        )
        for kind in KINDS
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS")
    ),
    Row(name="method: HEAD of meters", method="HEAD", headers=(), status=405, code="method_not_allowed"),
    Row(name="method: one that nobody knows", method="BREW", headers=(), status=405, code="method_not_allowed"),
    Row(name="method: PUT with a reading", method="PUT", body=GOOD, status=405, code="method_not_allowed"),
    *(
        Row(
            name=f"method: {method} of {path}",
            method=method,
            path=path,
            headers=(),
            status=405,
            code="method_not_allowed",
            answer_has=("Allow: GET",),
        )
        for method in ("POST", "PUT", "DELETE")
        for path in (
            "/health",
            "/metrics",
            "/v1/analytics/stats",
            "/v1/audit",
            "/v1/ingest/meter/A/current",
            "/v1/analytics/history/meter/A",
        )
    ),
)

_PATHS = tuple(
    Row(
        name=f"path: {name}",
        method=method,
        path=path,
        headers=JSON if method == "POST" else (),
        body=GOOD if method == "POST" else b"",
        status=404,
        code="not_found",
    )
    for name, method, path in (
        ("unknown", "GET", f"/{MARKER}"),
        ("unknown, with a reading", "POST", f"/v1/ingest/{MARKER}"),
        ("another version", "POST", "/v2/ingest/meter"),
        ("a slash at the end", "POST", "/v1/ingest/meter/"),
        ("two slashes", "POST", "/v1//ingest/meter"),
        ("two slashes in front", "POST", "//v1/ingest/meter"),
        ("in capitals", "POST", "/V1/INGEST/METER"),
        ("with a NUL", "POST", "/v1/ingest/meter%00"),
        ("with a blank", "POST", "/v1/ingest/meter%20"),
        ("an encoded slash", "POST", "/v1/ingest%2Fmeter"),
        ("back to where it came from, encoded", "GET", "/%2e%2e/%2e%2e/etc/passwd"),
        ("out of the pages", "GET", "/api/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        ("out of the pages, plainly", "GET", "/api/../../etc/passwd"),
        ("bytes that are no UTF-8", "GET", "/v1/%ff%fe"),
        ("a percent sign without digits", "GET", "/v1/%zz"),
        ("a script", "GET", f"/<script>{MARKER}</script>"),
        ("long", "GET", "/" + MARKER * 1000),
    )
)

ROWS = (*_TYPES, *_ENCODINGS, *_SIZES, *_METHODS, *_PATHS)
