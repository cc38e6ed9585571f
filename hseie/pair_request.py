"""What somebody wants of a pairing, read from JSON or from a line of CSV: strict, all mistakes named at once. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from hseie.errors import HseieError
from hseie.problems import ErrorItem
from hseie.readings import is_device_id

FIELDS = ("vehicleId", "meterId", "validFrom", "validTo")

_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_YEARS = range(1970, 2200)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_AN_ID = "1 to 50 of A-Z a-z 0-9 . _ : -"
_A_TIME = "must be an RFC 3339 time with an offset, like 2026-02-09T12:00:00Z, in the years 1970 to 2199"


class InvalidPairError(HseieError):
    """A pairing cannot be as it was asked for, whatever others there are. `errors` names each mistake."""

    def __init__(self, errors: list[ErrorItem]) -> None:
        super().__init__("; ".join(f"{error.pointer.removeprefix('/')}: {error.detail}" for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pairing to be set: without a meter nobody feeds the vehicle. A start of None is now, an end of None open."""

    vehicle_id: str
    meter_id: str | None
    valid_from: datetime | None = None
    valid_to: datetime | None = None


def read_time(text: str) -> datetime | None:
    """Return an RFC 3339 time in UTC; None for what is none."""
    try:
        moment = msgspec.convert(text, _AwareTime)
    except msgspec.ValidationError:
        return None
    return moment.astimezone(UTC) if moment.year in _YEARS else None


def read_pair(document: Any, **path: str) -> Wanted:
    """Return what a JSON object asks for; `path` are members that stood elsewhere. Raises InvalidPairError.

    `meterId` has to be there, and may be null; the times may be null, which is as if they were not there.
    """
    if not isinstance(document, dict):
        raise InvalidPairError([ErrorItem("not_an_object", "a pairing is an object")])
    errors = [
        # Nothing is echoed that does not look like a name.
        ErrorItem(
            "unknown_field", f"known here: {', '.join(_fields(path))}", f"/{name}" if _NAME.fullmatch(name) else ""
        )
        for name in document
        if name not in _fields(path)
    ]
    given: Mapping[str, Any] = {**document, **path}
    vehicle_id = _device(given, "vehicleId", errors)
    meter_id = None if "meterId" in given and given["meterId"] is None else _device(given, "meterId", errors)
    start, end = (_moment(given, name, errors) for name in ("validFrom", "validTo"))
    if start is not None and end is not None and end <= start:
        errors.append(ErrorItem("timestamp_out_of_range", "must lie after validFrom", "/validTo"))
    if errors:
        raise InvalidPairError(errors)
    return Wanted(vehicle_id, meter_id, start, end)


def _fields(path: Mapping[str, str]) -> list[str]:
    return [name for name in FIELDS if name not in path]


def _device(given: Mapping[str, Any], name: str, errors: list[ErrorItem]) -> str:
    value = given.get(name)
    if name not in given:
        errors.append(ErrorItem("missing_field", f"{name} is not there", f"/{name}"))
    elif not isinstance(value, str):
        errors.append(ErrorItem("bad_type", "must be a string", f"/{name}"))
    elif not is_device_id(value):
        errors.append(ErrorItem("bad_id", f"must be {_AN_ID}", f"/{name}"))
    else:
        return value
    return ""


def _moment(given: Mapping[str, Any], name: str, errors: list[ErrorItem]) -> datetime | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        errors.append(ErrorItem("bad_type", "must be a string", f"/{name}"))
        return None
    moment = read_time(value)
    if moment is None:
        errors.append(ErrorItem("bad_timestamp", _A_TIME, f"/{name}"))
    return moment
