"""What the head of a request says: the body's media type, charset and coding (RFC 9110), and preferences (RFC 7240).

Pure. Each pattern goes through a header once, whatever is in it: no part of one is tried twice. Only repeats of single
characters are possessive: Python before 3.11.5 forgets where it stood when the body of a longer one fails half-way
(cpython issue 106052), so the longer ones are written to have one way to match.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hseie.acceptor.bodies import RejectedBodyError

JSON_TYPES = ("application/json", "text/json")
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
CODINGS = ("gzip", "deflate")

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_WORD = rf'(?:{_NAME}|"(?:[^"\\]|\\.)*")'
_is_media_type = re.compile(
    rf"[ \t]*+(?P<type>{_NAME}/{_NAME})(?P<parameters>(?:[ \t]*+;[ \t]*+(?:{_NAME}={_WORD})?)*)[ \t]*+"
).fullmatch
_find_parameters = re.compile(rf"({_NAME})=({_WORD})").findall
_CODING_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_HEADERS_REMEMBERED = 128

# Elements of a list end at commas, but for those in quotes; quotes without an end reach to the end.
_find_elements = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+').findall
_is_preference = re.compile(
    rf"[ \t]*+(?P<name>{_NAME})(?:[ \t]*+=[ \t]*+(?P<value>{_WORD}))?[ \t]*+"
    rf"(?:;[ \t]*+(?:{_NAME}[ \t]*+(?:=[ \t]*+{_WORD}[ \t]*+)?)?)*"
).fullmatch
_is_seconds = re.compile(r"[0-9]{1,20}").fullmatch


def is_ndjson(content_types: Sequence[str]) -> bool:
    """Tell whether a body is NDJSON, or else JSON, from the values of its Content-Type header.

    Raises RejectedBodyError when it is neither, or not in UTF-8, or when there is not one such header.
    """
    if len(content_types) != 1:
        raise _wrong_type(
            "there are several Content-Type headers" if content_types else "there is no Content-Type header"
        )
    return _is_ndjson(content_types[0])


@functools.lru_cache(_HEADERS_REMEMBERED)  # nearly all clients send one of very few
def _is_ndjson(content_type: str) -> bool:
    found = _is_media_type(content_type)
    if found is None:
        raise _wrong_type("the Content-Type header is not a media type with its parameters")
    media_type = found["type"].lower()
    if media_type not in JSON_TYPES and media_type not in NDJSON_TYPES:
        raise _wrong_type("the Content-Type header names another type")
    for name, value in _find_parameters(found["parameters"]):
        if name.lower() == "charset" and value.strip('"').lower() not in ("utf-8", "utf8"):
            raise _wrong_type("the Content-Type header names another charset")
    return media_type in NDJSON_TYPES


def _wrong_type(why: str) -> RejectedBodyError:
    taken = (JSON_TYPES[0], NDJSON_TYPES[0])
    detail = f"readings are sent as {taken[0]} or, one a line, as {taken[1]}, in UTF-8; {why}"
    return RejectedBodyError("unsupported_media_type", detail, {"Accept": ", ".join(taken)})


def coding_of(content_encodings: Sequence[str]) -> str | None:
    """Return the one of CODINGS that a body is packed with, from the values of its Content-Encoding header, or None.

    Raises RejectedBodyError for others, and for several one upon the other.
    """
    if not content_encodings:
        return None
    named = [name.strip(" \t").lower() for name in ",".join(content_encodings).split(",")]
    codings = [_CODING_ALIASES.get(name, name) for name in named if name not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        detail = f"a body may be packed once, with {' or '.join(CODINGS)}"
        raise RejectedBodyError("unsupported_media_type", detail, {"Accept-Encoding": ", ".join(CODINGS)})
    return codings[0]


@dataclass(frozen=True, slots=True)
class Preference:
    """What was asked for: to wait for the commit, and how long at most.

    `applied` is what the answer confirms when that was met, `applied_late` when the commit did not come in time.
    """

    wait: bool
    seconds: float
    applied: str = ""
    applied_late: str = ""


def read_preference(header: str, wait_by_default: bool, seconds_max: float) -> Preference:
    """Return the preference of the `Prefer` headers, joined with commas.

    `respond-async` asks for the receipt of the journal at once, `wait` for the commit within so many seconds (without
    a number: `seconds_max`), and both together, as in section 4.3, for the receipt if the commit is not there by then.
    Of one named twice the first counts; what is unknown or misshapen is left out.
    """
    if not header:
        return Preference(wait_by_default, seconds_max)
    found: dict[str, str] = {}
    for element in _find_elements(header):
        if match := _is_preference(element):
            found.setdefault(match["name"].lower(), (match["value"] or "").strip('"'))
    is_async = found.get("respond-async") == ""
    wait = found.get("wait")
    if wait == "" or (wait is not None and _is_seconds(wait)):
        seconds = min(float(wait), seconds_max) if wait else seconds_max
        return Preference(True, seconds, f"wait={wait}" if wait else "wait", "respond-async" if is_async else "")
    if is_async:
        return Preference(False, 0.0, "respond-async")
    return Preference(wait_by_default, seconds_max)
