"""Rows about what stands around a body: its type, its compression, its framing, the method, the path, the head."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any

from hseie.readings import KINDS
from tests.wire.row import JSON, MARKER, Row, ingest_path, reading, stored

BODY_BYTES_MAX = 65_536
"""`http.body_bytes_max` of the node that the rows are sent to."""

GOOD = reading()


def _typed(*values: str) -> tuple[tuple[str, str], ...]:
    return tuple(("Content-Type", value) for value in values)


def _packed(name: str, pack: Callable[[bytes], bytes], coding: str = "gzip", **expected: Any) -> Row:
    return Row(
        name=f"encoding: {name}", body=GOOD, headers=(*JSON, ("Content-Encoding", coding)), pack=pack, **expected
    )


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def _bomb(body: bytes) -> bytes:
    return gzip.compress(b" " * 50_000_000 + body)


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
            "with blanks about it": (" application/json ; charset=utf-8 ; ",),
        }.items()
    ),
    *(
        Row(name=f"type: {name}", headers=_typed(*values), body=GOOD, **UNTAKEN)
        for name, values in {
            "none": (),
            "two in one": ("application/json, application/json",),
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

_TYPES += (
    Row(
        name="type: two",
        headers=_typed("application/json", "application/json"),
        body=GOOD,
        status=400,
        code="bad_request",
        closed=True,
    ),
)

_ENCODINGS = (
    _packed("gzip", gzip.compress, **TAKEN),
    _packed("gzip in capitals", gzip.compress, "GZIP", **TAKEN),
    _packed("identity", bytes, "identity", **TAKEN),
    _packed("deflate", zlib.compress, "deflate", **TAKEN),
    _packed("deflate without its head", _raw_deflate, "deflate", **TAKEN),
    _packed("deflate that is cut off", lambda body: zlib.compress(body)[:-8], "deflate", **DAMAGED),
    _packed("deflate without its check sum", lambda body: zlib.compress(body)[:-4], "deflate", **DAMAGED),
    _packed("garbage behind deflate", lambda body: zlib.compress(body) + MARKER.encode(), "deflate", **DAMAGED),
    _packed("x-gzip", gzip.compress, "x-gzip", **TAKEN),
    _packed("thousands of empty members", lambda body: gzip.compress(b"") * 3000 + gzip.compress(body), **DAMAGED),
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
    _packed("a body that is no gzip", bytes, **DAMAGED),
    _packed(
        "gzip that is damaged inside",
        lambda body: gzip.compress(body)[:12] + b"\xff\xff\xff\xff" + gzip.compress(body)[16:],
        **DAMAGED,
    ),
    _packed("gzip that is cut off", lambda body: gzip.compress(body)[:-12], **DAMAGED),
    _packed("gzip without its check sum", lambda body: gzip.compress(body)[:-8], **DAMAGED),
    _packed("gzip with a wrong check sum", lambda body: gzip.compress(body)[:-8] + b"\0" * 8, **DAMAGED),
    _packed("only a head of gzip", lambda body: gzip.compress(body)[:10], **DAMAGED),
    _packed("garbage behind gzip", lambda body: gzip.compress(body) + MARKER.encode(), **DAMAGED),
    _packed("gzip that says deflate", gzip.compress, "deflate", **DAMAGED),
    _packed("gzip of nothing", lambda body: gzip.compress(b""), status=400, code="bad_json"),
    _packed("gzip of gzip", lambda body: gzip.compress(gzip.compress(body)), status=400, code="bad_json"),
    Row(name="encoding: gzip, and no body", headers=(*JSON, ("Content-Encoding", "gzip")), **DAMAGED),
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


def _preferring(name: str, *values: str, answer_has: tuple[str, ...] = (), status: int = 202) -> Row:
    headers = (*JSON, *(("Prefer", value) for value in values))
    return Row(
        name=f"prefer: {name}", headers=headers, body=GOOD, status=status, stores=(stored(),), answer_has=answer_has
    )


_PREFERENCES = (
    _preferring("to wait", "wait=30", status=201, answer_has=('"mode":"direct"', "Preference-Applied: wait=30")),
    _preferring("not to wait", "respond-async", answer_has=('"mode":"queued"', "Preference-Applied: respond-async")),
    _preferring("empty", ""),
    _preferring("what nobody knows", f"{MARKER}=1"),
    _preferring("to wait for no number", f"wait={MARKER}"),
    _preferring("to wait less than nothing", "wait=-1"),
    _preferring("to wait in Arabic digits", "wait=\u0661"),
    _preferring("to wait not at all", "wait=0"),
    _preferring("a quote without an end", 'wait="'),
    _preferring("commas only", ",,,,"),
    _preferring("very much", "x=1," * 1500),
    _preferring("very many semicolons", "wait" + ";" * 4000, status=201),
    _preferring("two headers", MARKER, "respond-async", answer_has=("Preference-Applied: respond-async",)),
)


def _headed(name: str, *headers: tuple[str, str], **expected: Any) -> Row:
    return Row(name=f"head: {name}", headers=(*JSON, *headers), body=GOOD, **expected)


_HEADS = (
    _headed("an empty one", ("X-Empty", ""), **TAKEN),
    _headed("one of another language", ("X-Name", "caf\xe9"), **TAKEN),
    _headed(
        "an address that somebody claims", ("X-Forwarded-For", "1.2.3.4, unknown"), ("Forwarded", "for=_x"), **TAKEN
    ),
    _headed("another method than the line says", ("X-HTTP-Method-Override", "DELETE"), **TAKEN),
    _headed("another path than the line says", ("X-Original-URL", "/v1/audit"), **TAKEN),
    _headed("a cookie", ("Cookie", f"a={MARKER}"), **TAKEN),
    _headed("a range", ("Range", "bytes=0-1"), **TAKEN),
    _headed("conditions", ("If-None-Match", "*"), ("If-Modified-Since", "yesterday"), **TAKEN),
    _headed("an answer in another form", ("Accept", "application/xml"), ("Accept-Language", "tlh"), **TAKEN),
    _headed("an upgrade to what we do not speak", ("Connection", "Upgrade"), ("Upgrade", "h2c"), **TAKEN),
    _headed("closing", ("Connection", "close"), closed=True, **TAKEN),
)

ROWS = (*_TYPES, *_ENCODINGS, *_SIZES, *_METHODS, *_PATHS, *_PREFERENCES, *_HEADS)
