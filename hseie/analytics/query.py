"""Query parameters of the GET routes: strict, all mistakes named at once."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from hseie.errors import HseieError
from hseie.problems import ErrorItem

_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST = timedelta(days=36_500)  # the longest ingest.past_max_days there may be: nothing can be older
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
# A "+" that was not percent-encoded arrives as a blank: 2026-02-09T12:00:00 01:00.
_LOST_PLUS = re.compile(r" (?=\d\d:\d\d$)")
_YEARS = range(1970, 2200)


class BadParameterError(HseieError):
    """A parameter of the query is wrong. `errors` names each; the answer is 400 `bad_parameter`."""

    def __init__(self, errors: list[ErrorItem]) -> None:
        super().__init__("; ".join(error.detail for error in errors))
        self.errors = errors


class Query:
    """Reads parameters one by one, collecting what is wrong; `check` raises it all together."""

    def __init__(self, given: Mapping[str, str], known: Collection[str]) -> None:
        """`given` may be a multidict: a parameter that stands twice is a mistake."""
        self._given: dict[str, str] = {}
        self._errors: list[ErrorItem] = []
        for name, value in given.items():
            if name not in known:
                # Nothing is echoed that does not look like a name.
                pointer = f"/{name}" if _NAME.fullmatch(name) else ""
                listed = ", ".join(sorted(known)) or "none"
                self._errors.append(ErrorItem("unknown_parameter", f"known here: {listed}", pointer))
            elif name in self._given:
                self.refuse(name, f"{name} stands more than once")
            else:
                self._given[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def refuse(self, name: str, why: str) -> None:
        """Note that a parameter is wrong."""
        self._errors.append(ErrorItem("bad_value", why, f"/{name}"))

    def check(self) -> None:
        """Raise BadParameterError if anything was wrong so far."""
        if self._errors:
            raise BadParameterError(self._errors)

    def text(self, name: str) -> str | None:
        return self._given.get(name)

    def choice(self, name: str, options: Collection[str], default: str) -> str:
        value = self._given.get(name, default)
        if value not in options:
            self.refuse(name, f"{name} must be one of {', '.join(options)}")
            return default
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self._given.get(name)
        if value is None:
            return default
        if value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most:
            return int(value)
        self.refuse(name, f"{name} must be a whole number from {least} to {most}")
        return default

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return a number written as in JSON, without a sign."""
        value = self._given.get(name)
        if value is None:
            return default
        if _NUMBER.fullmatch(value) and least <= float(value) <= most:
            return float(value)
        self.refuse(name, f"{name} must be a number from {least:g} to {most:g}")
        return default

    def flag(self, name: str) -> bool:
        """Return whether a parameter stands there, bare or as true."""
        value = self._given.get(name)
        if value not in (None, "", "1", "true", "0", "false"):
            self.refuse(name, f"{name} is true or false")
        return value in ("", "1", "true")

    def moment(self, name: str) -> datetime | None:
        """Return an RFC 3339 time in UTC."""
        value = self._given.get(name)
        if value is None:
            return None
        try:
            moment = msgspec.convert(_LOST_PLUS.sub("+", value), _AwareTime)
            if moment.year in _YEARS:
                return moment.astimezone(UTC)
        except msgspec.ValidationError:
            pass
        years = f"in the years {_YEARS[0]} to {_YEARS[-1]}"
        self.refuse(name, f"{name} must be an RFC 3339 time with an offset, like 2026-02-09T12:00:00Z, {years}")
        return None

    def window(self, name: str) -> timedelta | None:
        """Return a length of time like 90m, 24h or 7d."""
        value = self._given.get(name)
        if value is None:
            return None
        match = _WINDOW.fullmatch(value)
        if match is None:
            self.refuse(name, f"{name} must be minutes, hours or days, like 90m, 24h or 7d")
            return None
        length = int(match[1]) * _UNIT[match[2]]
        if length > _LONGEST:
            self.refuse(name, f"{name} must be at most {_LONGEST.days}d")
            return None
        return length
