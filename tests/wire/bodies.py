"""Rows about the text of a body: what is JSON in UTF-8 and what is not, and what may stand at its top."""

import json

from hseie.readings import METER
from tests.wire.row import MARKER, Row, reading, stored

GOOD = reading()


def _not_json(name: str, body: str | bytes) -> Row:
    return Row(name=f"body: {name}", body=body, status=400, code="bad_json")


def _wrong_top(name: str, body: str) -> Row:
    return Row(name=f"top: {name}", body=body, status=400, code="not_an_object")


ROWS = (
    _not_json("empty", b""),
    _not_json("white space only", b" \r\n\t "),
    _not_json("an object that is cut off", GOOD[:-1]),
    _not_json("a string that is cut off", GOOD[:25]),
    _not_json("an array that is cut off", f"[{GOOD},"),
    _not_json("trailing comma in an object", GOOD[:-1] + ",}"),
    _not_json("trailing comma in an array", f"[{GOOD},]"),
    _not_json("two objects", GOOD + GOOD),
    _not_json("two objects on two lines, as application/json", f"{GOOD}\n{GOOD}"),
    _not_json("text behind the object", f"{GOOD} {MARKER}"),
    _not_json("a NUL behind the object", f"{GOOD}\0"),
    _not_json("a comment of a line", f"// {MARKER}\n{GOOD}"),
    _not_json("a comment in the object", reading(voltage=f"/* {MARKER} */ 230")),
    _not_json("single quotes", GOOD.replace('"', "'")),
    _not_json("a name without quotes", GOOD.replace('"voltage"', "voltage")),
    _not_json("a byte order mark", b"\xef\xbb\xbf" + GOOD.encode()),
    _not_json("UTF-16 with its mark", GOOD.encode("utf-16")),
    _not_json("UTF-16, little end first", GOOD.encode("utf-16-le")),
    _not_json("UTF-32", GOOD.encode("utf-32")),
    _not_json("Latin-1", reading(note=f'"{MARKER} caf\xe9"').encode("latin-1")),
    _not_json("a byte that begins no character", b'{"meterId": "\x80"}'),
    _not_json("a character written too long", b'{"meterId": "\xc0\xaf"}'),
    _not_json("a character beyond the last one", b'{"meterId": "\xf4\x90\x80\x80"}'),
    _not_json("half a surrogate pair in bytes", b'{"meterId": "\xed\xa0\x80"}'),
    _not_json("half a surrogate pair as an escape", r'{"meterId": "\ud800"}'),
    _not_json("surrogates in the wrong order", r'{"meterId": "\udc00\ud800"}'),
    _not_json("an escape that JSON has not", r'{"meterId": "\x41"}'),
    _not_json("a line break inside a string", '{"meterId": "a\nb"}'),
    _not_json("a NUL inside a string", b'{"meterId": "a\0b"}'),
    _not_json("NaN", reading(voltage="NaN")),
    _not_json("Infinity", reading(voltage="Infinity")),
    _not_json("minus Infinity", reading(voltage="-Infinity")),
    _not_json("a number beyond every double", reading(voltage="1e400")),
    _not_json("a leading zero", reading(voltage="0230")),
    _not_json("a plus sign", reading(voltage="+230")),
    _not_json("a number that begins with its point", reading(voltage=".5")),
    _not_json("a number that ends with its point", reading(voltage="5.")),
    _not_json("a hexadecimal number", reading(voltage="0xE6")),
    _not_json("True as Python writes it", reading(voltage="True")),
    _not_json("two thousand arrays in each other", "[" * 2000 + "]" * 2000),
    _not_json("two thousand objects in each other", '{"a":' * 2000 + "1" + "}" * 2000),
    _not_json("nine thousand arrays that only begin", "[" * 9_000),
    Row(name="body: thirty thousand arrays", body="[" * 30_000, status=413, code="batch_too_large"),
    _wrong_top("null", "null"),
    _wrong_top("true", "true"),
    _wrong_top("a number", "5"),
    _wrong_top("a string", f'"{MARKER}"'),
    _wrong_top("a reading inside a string", json.dumps('{"meterId": "A"}')),
    Row(
        name="body: a member twice, of which the last counts",
        body=reading()[:-1] + ', "voltage": 231}',
        status=202,
        stores=(stored(voltage="231"),),
    ),
    Row(
        name="body: a member twice, of which the last is wrong",
        body=reading()[:-1] + ', "voltage": 501}',
        status=400,
        code="invalid_reading",
        errors=("/voltage out_of_range",),
    ),
    Row(
        name="body: escapes of plain letters",
        body=GOOD.replace("meterId", r"meterI\u0064"),
        status=202,
        stores=(stored(),),
    ),
    Row(name="body: white space wherever JSON has it", body=f"\r\n\t {GOOD} \n", status=202, stores=(stored(),)),
    Row(
        name="item: an empty object",
        body="{}",
        status=400,
        code="invalid_reading",
        errors=tuple(f"/{name} missing_field" for name in METER.wire_fields),
    ),
    Row(
        name="item: deep nesting where a value belongs",
        body=reading(voltage="[" * 500 + "]" * 500),
        status=400,
        code="invalid_reading",
        errors=("/voltage bad_type",),
    ),
)
