"""Why a reading was refused: every wrong member, with its place, a code and a sentence. Never on the fast path."""

import itertools
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from hseie.access import NOT_ALLOWED
from hseie.problems import ERRORS_MAX, ErrorItem
from hseie.readings import ID_LENGTH_MAX, KINDS, Field, Kind, canonical_time, is_device_id

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_HARMLESS_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch


_ID_FIELDS = ", ".join(kind.id_wire for kind in KINDS)
_NOT_AN_OBJECT = ErrorItem("not_an_object", "must be a JSON object")


def explain_no_json(why: str) -> ErrorItem:
    """Return the error of a line that is not JSON."""
    return ErrorItem("bad_json", why)


def explain_no_kind(item: Any) -> ErrorItem:
    """Return the error of an item that is not of exactly one kind."""
    if not isinstance(item, dict):
        return _NOT_AN_OBJECT
    return ErrorItem("unknown_kind", f"must have exactly one of the id fields {_ID_FIELDS}")


def explain_refusal(code: str, kind: Kind) -> ErrorItem:
    """Return the error of a good reading of a device that nothing is taken of; `code` as in hseie.access."""
    detail = "may not be reported with this key or certificate"
    if code != NOT_ALLOWED:
        detail = "is one device more than may be reported with this key"
    return ErrorItem(code, detail, f"/{kind.id_wire}")


def explain(item: Any, kind: Kind, earliest: str, latest: str) -> list[ErrorItem]:
    """Return what is wrong with an item that is not a good reading of `kind`; `index` is left to the caller.

    `earliest` and `latest` are the bounds of its time as canonical text.
    """
    if not isinstance(item, dict):
        return [_NOT_AN_OBJECT]
    unknown = itertools.islice((name for name in item if name not in kind.wire_fields), ERRORS_MAX)
    errors = [_unknown_member(name, kind) for name in unknown]
    for name in kind.wire_fields:
        if name not in item:
            errors.append(ErrorItem("missing_field", "is required", f"/{name}"))
    if kind.id_wire in item:
        errors += _explain_id(item[kind.id_wire], kind)
    if "timestamp" in item:
        errors += _explain_time(item["timestamp"], earliest, latest)
    for field in kind.fields:
        if field.wire in item:
            errors += _explain_value(item[field.wire], field)
    return errors


def _unknown_member(name: str, kind: Kind) -> ErrorItem:
    # A name is the sender's text; anything but a plain one is not repeated to whoever reads the answer.
    pointer = f"/{name}" if _HARMLESS_NAME(name) else ""
    return ErrorItem("unknown_field", f"a {kind.name} reading has only {', '.join(kind.wire_fields)}", pointer)


def _explain_id(value: Any, kind: Kind) -> list[ErrorItem]:
    pointer = f"/{kind.id_wire}"
    if not isinstance(value, str):
        return [ErrorItem("bad_type", "must be a string", pointer)]
    if is_device_id(value) is None:
        detail = f"must be 1 to {ID_LENGTH_MAX} characters out of A-Z a-z 0-9 . _ : -"
        return [ErrorItem("bad_id", detail, pointer)]
    return []


def _explain_time(value: Any, earliest: str, latest: str) -> list[ErrorItem]:
    pointer = "/timestamp"
    if not isinstance(value, str):
        return [ErrorItem("bad_type", "must be a string", pointer)]
    try:
        time = canonical_time(value, msgspec.convert(value, _Moment))
    except (msgspec.ValidationError, UnicodeError):
        detail = "must be an RFC 3339 time with an offset, like 2026-02-09T12:00:00.000Z"
        return [ErrorItem("bad_timestamp", detail, pointer)]
    except OverflowError:
        time = ""
    if not earliest <= time <= latest:
        return [ErrorItem("timestamp_out_of_range", f"must be from {earliest}Z to {latest}Z", pointer)]
    return []


def _explain_value(value: Any, field: Field) -> list[ErrorItem]:
    pointer = f"/{field.wire}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [ErrorItem("bad_type", f"must be a number ({field.unit})", pointer)]
    above = value >= field.maximum if field.maximum_excluded else value > field.maximum
    if value < field.minimum or above:
        reach = "below" if field.maximum_excluded else "to"
        detail = f"must be from {field.minimum:g} {reach} {field.maximum:.12g} {field.unit}"
        return [ErrorItem("out_of_range", detail, pointer)]
    return []
