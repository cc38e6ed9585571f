"""Rows about pairings: what may stand in the body, the path and the query of a change, and what is no change at all."""

from tests.wire.row import JSON, MARKER, Row

_PATH = "/v1/pairs/@ID@"


def _put(
    name: str,
    body: str | bytes,
    status: int = 400,
    code: str = "invalid_pair",
    *errors: str,
    path: str = _PATH,
    headers: tuple[tuple[str, str], ...] = JSON,
) -> Row:
    return Row(
        name=f"pair: {name}",
        method="PUT",
        path=path,
        headers=headers,
        body=body,
        status=status,
        code=code,
        errors=errors,
    )


def _asked(name: str, method: str, path: str, status: int, code: str = "", *errors: str) -> Row:
    return Row(name=f"pair: {name}", method=method, path=path, headers=(), status=status, code=code, errors=errors)


_BODIES = (
    _put("with a meter", '{"meterId": "M.@ID@"}', 200, ""),
    _put("with nobody", '{"meterId": null}', 200, ""),
    _put("in the past", '{"meterId": "M.@ID@", "validFrom": "@-86400@", "validTo": "@-3600@"}', 200, ""),
    _put("planned", '{"meterId": "M.@ID@", "validFrom": "@86400@", "validTo": null}', 200, ""),
    _put("a member twice, the last one counts", '{"meterId": 1, "meterId": "M.@ID@"}', 200, ""),
    _put("empty", "{}", 400, "invalid_pair", "/meterId missing_field"),
    _put("a number for a meter", '{"meterId": 1}', 400, "invalid_pair", "/meterId bad_type"),
    _put("a list for a meter", f'{{"meterId": ["{MARKER}"]}}', 400, "invalid_pair", "/meterId bad_type"),
    _put("an empty meter", '{"meterId": ""}', 400, "invalid_pair", "/meterId bad_id"),
    _put("a long meter", f'{{"meterId": "{MARKER * 10}"}}', 400, "invalid_pair", "/meterId bad_id"),
    _put("a meter with a NUL", '{"meterId": "\\u0000"}', 400, "invalid_pair", "/meterId bad_id"),
    _put("a meter with a newline", '{"meterId": "M\\n"}', 400, "invalid_pair", "/meterId bad_id"),
    _put("a meter that is SQL", '{"meterId": "\'; DROP TABLE device_pair"}', 400, "invalid_pair", "/meterId bad_id"),
    _put(
        "the vehicle in the body",
        f'{{"meterId": "M", "vehicleId": "{MARKER}"}}',
        400,
        "invalid_pair",
        "/vehicleId unknown_field",
    ),
    _put("markup for a name", f'{{"meterId": "M", "<b>{MARKER}": 1}}', 400, "invalid_pair", " unknown_field"),
    _put(
        "a day for a time",
        '{"meterId": "M", "validFrom": "2026-02-09"}',
        400,
        "invalid_pair",
        "/validFrom bad_timestamp",
    ),
    _put(
        "a time without an offset",
        '{"meterId": "M", "validTo": "2026-02-09T12:00:00"}',
        400,
        "invalid_pair",
        "/validTo bad_timestamp",
    ),
    _put(
        "a number for a time", '{"meterId": "M", "validFrom": 1770638400}', 400, "invalid_pair", "/validFrom bad_type"
    ),
    _put(
        "infinity for a time", '{"meterId": "M", "validTo": "infinity"}', 400, "invalid_pair", "/validTo bad_timestamp"
    ),
    _put(
        "the year 9999",
        '{"meterId": "M", "validTo": "9999-12-31T23:59:59Z"}',
        400,
        "invalid_pair",
        "/validTo bad_timestamp",
    ),
    _put(
        "too long ago",
        '{"meterId": "M", "validFrom": "@-34560060@"}',
        400,
        "invalid_pair",
        "/validFrom timestamp_out_of_range",
    ),
    _put(
        "an end before the start",
        '{"meterId": "M", "validFrom": "@0@", "validTo": "@-1@"}',
        400,
        "invalid_pair",
        "/validTo timestamp_out_of_range",
    ),
    _put(
        "an end before now",
        '{"meterId": "M", "validTo": "@-1@"}',
        400,
        "invalid_pair",
        "/validTo timestamp_out_of_range",
    ),
    _put(
        "everything wrong",
        '{"meterId": 1, "validFrom": "x", "validTo": 2, "color": 3}',
        400,
        "invalid_pair",
        "/color unknown_field",
        "/meterId bad_type",
        "/validFrom bad_timestamp",
        "/validTo bad_type",
    ),
    _put("an array", '[{"meterId": "M"}]', 400, "invalid_pair", " not_an_object"),
    _put("null", "null", 400, "invalid_pair", " not_an_object"),
    _put("no JSON", f"{{{MARKER}", 400, "bad_json"),
    _put("nothing", "", 400, "bad_json"),
    _put("no UTF-8", b'{"meterId": "\xff"}', 400, "bad_json"),
    _put("deep", "[" * 8000, 400, "bad_json"),
    _put("too large", " " * 16_385, 413, "too_large"),
    _put("as large as it may be", '{"meterId": "M.@ID@"}'.ljust(16_384 - 8), 200, ""),
    _put("as text", "{}", 415, "unsupported_media_type", headers=(("Content-Type", "text/plain"),)),
    _put("as NDJSON", "{}", 415, "unsupported_media_type", headers=(("Content-Type", "application/x-ndjson"),)),
    _put("without a type", "{}", 415, "unsupported_media_type", headers=()),
    _put("packed", "{}", 415, "unsupported_media_type", headers=(*JSON, ("Content-Encoding", "gzip"))),
    _put(
        "with a parameter",
        '{"meterId": "M"}',
        400,
        "bad_parameter",
        "/force unknown_parameter",
        path=f"{_PATH}?force=1",
    ),
)

_PATHS = (
    *(
        _put(
            f"a vehicle with {name}",
            '{"meterId": "M"}',
            400,
            "invalid_pair",
            "/vehicleId bad_id",
            path=f"/v1/pairs/{text}",
        )
        for name, text in {
            "too many letters": MARKER * 10,
            "a NUL": "%00",
            "a newline": "A%0A",
            "a slash": "A%2FB",
            "no UTF-8": "%ff",
            "markup": f"%3Cb%3E{MARKER}",
        }.items()
    ),
    _asked("none runs", "DELETE", _PATH, 404, "unknown_pair"),
    _asked("none can run", "DELETE", "/v1/pairs/%00", 404, "unknown_pair"),
    _asked("an end that is no time", "DELETE", f"{_PATH}?at={MARKER}", 400, "bad_parameter", "/at bad_value"),
    _asked("an end twice", "DELETE", f"{_PATH}?at=@0@&at=@0@", 400, "bad_parameter", "/at bad_value"),
    _asked(
        "an unknown parameter of an end", "DELETE", f"{_PATH}?when=now", 400, "bad_parameter", "/when unknown_parameter"
    ),
    _asked("of one vehicle there is no list", "GET", _PATH, 405, "method_not_allowed"),
    _asked("all of them are not deleted", "DELETE", "/v1/pairs", 405, "method_not_allowed"),
    _asked("a list", "GET", "/v1/pairs?vehicleId=@ID@&state=all", 200),
    _asked("a list in no state", "GET", f"/v1/pairs?state={MARKER}", 400, "bad_parameter", "/state bad_value"),
    _asked("a list of no vehicle", "GET", "/v1/pairs?vehicleId=%00", 400, "bad_parameter", "/vehicleId bad_value"),
    _asked("a list of no meter", "GET", "/v1/pairs?meterId=A%20B", 400, "bad_parameter", "/meterId bad_value"),
    _asked(
        "a list from a cursor that is none",
        "GET",
        f"/v1/pairs?cursor={MARKER}",
        400,
        "bad_parameter",
        "/cursor bad_value",
    ),
    _asked("a list of too much", "GET", "/v1/pairs?limit=10001", 400, "bad_parameter", "/limit bad_value"),
)

ROWS = (*_BODIES, *_PATHS)
