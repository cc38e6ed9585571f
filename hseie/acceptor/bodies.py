"""From the bytes of a body to its items: one JSON value, an array of them, or one a line (NDJSON). Pure.

Where an object names a member twice, the last one counts, as RFC 8259 allows: looking for it would cost every reading.
"""

import itertools
import re
from typing import Any

import orjson

# A blank line is one of nothing but the white space of JSON; what else it holds makes it an item.
_find_lines = re.compile(rb"[^ \t\r\n][^\n]*").finditer
_MARKS_OF_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_CONTAINERS_MIN = 10_000  # so many may be opened whatever the limit of readings
_ONE_AFTER_ANOTHER = "unexpected content after document"


class RejectedBodyError(Exception):
    """The whole request is refused: `code` is that of a declared problem, `headers` go with its answer."""

    def __init__(self, code: str, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.headers = headers


def refuse_nests(body: bytes, items_max: int) -> None:
    """Raise RejectedBodyError for a body with far more arrays and objects than so many readings have: one each.

    To be asked before it is parsed: each of them costs Python fifty times what a byte of a number or a name does, so
    two megabytes of nothing else would take a second.
    """
    if len(body) <= _CONTAINERS_MIN:
        return
    found = body.count(b"[") + body.count(b"{")
    limit = max(_CONTAINERS_MIN, 4 * items_max)
    if found > limit:
        raise RejectedBodyError("batch_too_large", f"at most {limit} arrays and objects, and this body opens {found}")


def read_json(body: bytes, items_max: int) -> tuple[list[Any], bool]:
    """Return the items of a JSON body, and whether it is an array of them (at most `items_max`) or one object.

    Raises RejectedBodyError when it is neither.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectedBodyError("bad_json", _why_not_json(body, error)) from None
    if isinstance(document, dict):
        return [document], False
    if not isinstance(document, list):
        raise RejectedBodyError("not_an_object")
    if not document:
        raise RejectedBodyError("empty_batch")
    if len(document) > items_max:
        raise _too_many(items_max)
    return document, True


def read_lines(body: bytes, items_max: int) -> tuple[list[Any], dict[int, str]]:
    """Return the items of an NDJSON body, and which are no JSON and so not among them: index to the reason.

    Each line that is not blank is one; what lies between two of them does not count.

    Raises RejectedBodyError when there are none, or more than `items_max`; it then has parsed nothing.
    """
    body = body.removesuffix(b"\n")
    if body.count(b"\n") < items_max:
        try:
            # Taking all lines as one array would be quicker by a third, and would take an object across two lines.
            return [orjson.loads(line) for line in body.split(b"\n")], {}
        except orjson.JSONDecodeError:
            pass  # there may be no more to it than a blank line
    return _read_lines_one_by_one(body, items_max)


def _read_lines_one_by_one(body: bytes, items_max: int) -> tuple[list[Any], dict[int, str]]:
    # No further than the limit: a body may be millions of lines.
    lines = [line[0] for line in itertools.islice(_find_lines(body), items_max + 1)]
    if not lines:
        raise RejectedBodyError("empty_batch")
    if len(lines) > items_max:
        raise _too_many(items_max)
    values: list[Any] = []
    not_json: dict[int, str] = {}
    for index, line in enumerate(lines):
        try:
            values.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            not_json[index] = _why_not_json(line, error)
    return values, not_json


def _too_many(items_max: int) -> RejectedBodyError:
    return RejectedBodyError("batch_too_large", f"at most {items_max} readings a request")


def _why_not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    # Nothing of the sender's text is repeated, only places in it. Of a byte order mark in UTF-8 orjson tells itself.
    if text.startswith(_MARKS_OF_UTF_16) or b"\0" in text:
        return "is not UTF-8: with its NUL bytes or byte order mark (BOM) it looks like UTF-16 or UTF-32"
    where = f"line {error.lineno}, column {error.colno}"
    if error.msg == _ONE_AFTER_ANOTHER:
        return f"another value follows the first ({where}): several are sent as an array or, one a line, as NDJSON"
    return f"{error.msg} ({where})"
