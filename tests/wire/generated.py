"""What hypothesis makes up for the wire: bodies, readings that are nearly good, questions. And how long it does so.

`HSEIE_FUZZ_INPUTS` (`make fuzz INPUTS=100000`) says how many inputs a long run has in all; without it each test has a
few, for `make test`. `HSEIE_TEST_SEED` repeats a run.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from hseie.readings import KINDS, Field, Kind

ROUND = 1000
"""Inputs that hypothesis makes before it begins anew: it remembers all of a round."""

INPUTS = int(os.environ.get("HSEIE_FUZZ_INPUTS") or 0)

OLDEST = timedelta(days=400)
NEWEST = timedelta(minutes=5)
PLAIN = "ABCXYZabcxyz0189._:-"


def inputs_of(share: float, short: int) -> int:
    """How many inputs a test makes: its share of a long run, or its short form."""
    return int(INPUTS * share) or short


def fuzz(test: Callable[..., None], inputs: int, first_seed: int, **strategies: st.SearchStrategy[Any]) -> None:
    """Call `test` with at least so many inputs, in rounds with seeds of their own; print how many and how long."""
    made = 0

    def counted(**arguments: Any) -> None:
        nonlocal made
        made += 1
        note(repr(arguments))
        test(**arguments)

    began, number = time.monotonic(), first_seed
    print(f"HSEIE_TEST_SEED={first_seed}")
    while made < inputs:
        of_round = settings(
            max_examples=min(ROUND, inputs - made),
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(of_round(given(**strategies)(counted)))()
        number += 1
    print(f"{test.__name__}: {made} inputs in {time.monotonic() - began:.0f} s")


# --- JSON -------------------------------------------------------------------------------------------------------------

texts = (
    st.text(max_size=60)
    | st.text(alphabet=PLAIN, max_size=60)
    | st.text(alphabet="\0\t\n\r\\\"'/%{}<>\x7f\u2028", max_size=8)
)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@st.composite
def as_json(draw: st.DrawFn, values: st.SearchStrategy[Any] = documents) -> str:
    """The text of a value; NaN and half surrogates as they come."""
    return json.dumps(
        draw(values), ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from(((",", ":"), (" , ", " : "))))
    )


NUMBERS_OF_NOTE = (
    "-0", "-0.0", "0e0", "1e-320", "5e-324", "1e308", "1.7976931348623157e308", "1e400", "-1e400", "NaN", "Infinity",
    "9007199254740993", "18446744073709551615", "18446744073709551616", "1" + "0" * 299, "0.1e1", "1E+2", "01", "+1",
    ".5", "5.", "0." + "0" * 400 + "1", "999999.99995", "999999.9999499999",
)  # fmt: skip


_FORMS: tuple[Callable[[float], str], ...] = (repr, "{:.6f}".format, "{:e}".format, lambda value: str(int(value)))
_PARTS = 1 << 40


def good_numbers(field: Field) -> st.SearchStrategy[str]:
    """Numbers of the range: anywhere in it, at its ends, and halves between two numbers that can be stored."""
    step = 10.0**-field.scale
    end = field.maximum - step if field.maximum_excluded else field.maximum

    def number(drawn: int) -> str:
        if drawn % 8 == 7:
            return repr((field.minimum, end, 0.0, -0.0, field.minimum + step / 8)[drawn % 5])
        value = field.minimum + (end - field.minimum) * drawn / _PARTS
        if drawn % 8 == 6:
            return f"{int(value) + (0.5 if value >= 0 else -0.5) * step:.{field.scale + 1}f}"
        return _FORMS[drawn % 4](value)

    return st.integers(0, _PARTS).map(number)


def odd_numbers(field: Field) -> st.SearchStrategy[str]:
    """Numbers just outside the range and just inside, and whatever else may stand there."""
    step = 10.0**-field.scale
    about_an_end = st.builds(
        lambda end, eighths: repr(end + eighths * step / 8),
        st.sampled_from((field.minimum, field.maximum)),
        st.integers(-20, 20),
    )
    return about_an_end | st.sampled_from(NUMBERS_OF_NOTE) | st.floats().map(json.dumps) | as_json()


IDS_OF_NOTE = (
    "",
    ".",
    "..",
    "\\.",
    "\\N",
    "NULL",
    "a\0",
    "a\tb",
    "a\n",
    "é",
    "\uff21",
    "x" * 50,
    "x" * 51,
    "-1",
    "1e5",
)
good_ids = st.integers(0, 50**3).map(
    lambda number: (PLAIN * 3)[number % 19 : number % 19 + 1 + number % 41] + str(number // 50)
)
odd_ids = (
    as_json(st.sampled_from(IDS_OF_NOTE)) | st.text(alphabet=PLAIN + "/ \n", max_size=52).map(json.dumps) | as_json()
)

_OFFSETS = (("Z", 0), ("Z", 0), ("Z", 0), ("z", 0), ("+00:00", 0), ("-00:00", 0), ("+01:00", 60), ("-05:30", -330))
_OFFSETS += (("+14:00", 840), ("-12:00", -720), ("+23:59", 1439), ("-23:59", -1439))
# Few days, so that few partitions are needed.
_DAYS = (0, 0, 0, 1, 2, 90, OLDEST.days - 1)


def good_times(now: datetime) -> st.SearchStrategy[str]:
    """Times of the window, written in the ways of RFC 3339; some minutes away from its ends, which move with time."""

    def written(drawn: int, style: int) -> str:
        ago = timedelta(days=_DAYS[style % 7], microseconds=drawn - 60_000_000)
        offset, minutes = _OFFSETS[style % 12]
        local = (now - ago).replace(tzinfo=None) + timedelta(minutes=minutes)
        digits = style % 10
        fraction = f".{local.microsecond:06}{drawn % 1000:03}"[: digits + 1] if digits else ""
        return f"{local:%Y-%m-%d}{'TTTt '[style % 5]}{local:%H:%M:%S}{fraction}{offset}"

    return st.builds(written, st.integers(0, 3_660_000_000), st.integers(0, 2519))


TIMES_OF_NOTE = (
    "now", "infinity", "-infinity", "epoch", "1770638400", "2026-02-09T12:00:00", "2026-02-09", "2026-W07-1T12:00:00Z",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "0000-00-00T00:00:00Z",
    "2026-02-29T00:00:00Z", "2026-06-30T23:59:60Z", "2026-06-30T24:00:00Z",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[Any]) -> Any:
    """A text, or bytes, of which a few places are changed."""
    text = draw(texts)
    piece = st.binary(max_size=3) if isinstance(text, bytes) else st.text(max_size=3)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(piece) + text[min(len(text), start + draw(st.integers(0, 3))) :]
    return text


def odd_times(now: datetime) -> st.SearchStrategy[str]:
    return as_json(mutated(good_times(now)) | mutated(good_times(now)) | st.sampled_from(TIMES_OF_NOTE) | documents)


class Generator:
    """The strategies for one moment: made once, because making them costs more than drawing from them."""

    def __init__(self, now: datetime) -> None:
        self._good: dict[Kind, list[tuple[str, st.SearchStrategy[str]]]] = {}
        self._odd: dict[Kind, dict[str, st.SearchStrategy[str]]] = {}
        for kind in KINDS:
            self._good[kind] = [
                (kind.id_wire, good_ids.map(json.dumps)),
                ("timestamp", good_times(now).map(json.dumps)),
                *((field.wire, good_numbers(field)) for field in kind.fields),
            ]
            odd_values = {field.wire: odd_numbers(field) for field in kind.fields}
            self._odd[kind] = {kind.id_wire: odd_ids, "timestamp": odd_times(now), **odd_values}

    def reading(self, draw: st.DrawFn, kind: Kind) -> str:
        """The JSON text of an object that is a good reading, or one with something odd about it."""
        members = {name: draw(values) for name, values in self._good[kind]}
        change = draw(st.integers(0, 19))
        if change < 7:
            name = draw(st.sampled_from(kind.wire_fields))
            members[name] = draw(self._odd[kind][name])
        elif change == 7:
            del members[draw(st.sampled_from(kind.wire_fields))]
        elif change == 8:
            members[draw(ANY_NAMES)] = draw(as_json())
        elif change == 11:
            members[draw(st.sampled_from(KINDS)).id_wire] = draw(odd_ids)  # of another kind, or an odd one of its own
        pairs = [f"{json.dumps(name)}:{text}" for name, text in members.items()]
        if change == 9:
            pairs = draw(st.permutations(pairs))
        elif change == 10:
            name = draw(st.sampled_from(kind.wire_fields))
            pairs.append(f"{json.dumps(name)}:{draw(self._odd[kind][name])}")  # a member twice
        return "{" + ",".join(pairs) + "}"

    def items(self, draw: st.DrawFn, kind: Kind | None) -> list[str]:
        """Some readings, mostly of a kind, and other things among them."""
        found = []
        for drawn in draw(st.lists(st.integers(0, 29), max_size=6)):
            of_kind = KINDS[drawn % len(KINDS)] if kind is None or drawn > 27 else kind
            found.append(draw(as_json()) if drawn == 27 else self.reading(draw, of_kind))
        return found


ANY_NAMES = st.sampled_from([name for kind in KINDS for name in kind.wire_fields]) | texts
_SHAPES = ("one",) * 5 + ("array",) * 7 + ("lines",) * 7 + ("json", "bytes", "mixed up")
_CODINGS = ("utf-8",) * 30 + ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")


@dataclass(frozen=True)
class Body:
    """A body, and what it is sent as: of a kind or (None) of any, and as NDJSON or not."""

    content: bytes
    kind: Kind | None
    lines: bool


@st.composite
def bodies(draw: st.DrawFn, generator: Generator) -> Body:
    """A body: mostly readings, alone, as an array or one a line; sometimes anything."""
    kind = draw(st.sampled_from((*KINDS, None)))
    shape = draw(st.sampled_from(_SHAPES))
    lines = shape == "lines" or (shape in ("json", "bytes", "mixed up") and draw(st.booleans()))
    if shape == "bytes":
        return Body(draw(st.binary(max_size=120)), kind, lines)
    if shape == "one":
        text = generator.reading(draw, kind or draw(st.sampled_from(KINDS)))
    elif shape == "json":
        text = draw(as_json())
    else:
        array = shape == "array" or (shape == "mixed up" and lines)
        between = draw(st.sampled_from((",", " ,\n") if array else ("\n", "\n", "\r\n", "\n\n", "\n \t\n")))
        text = between.join(generator.items(draw, kind))
        text = f"[{text}]" if array else text + draw(st.sampled_from(("", "\n")))
    coding = draw(st.sampled_from(_CODINGS))
    body = text.encode(coding, "surrogatepass" if coding.startswith("utf") else "replace")
    if draw(st.integers(0, 9)) == 0:
        body = draw(mutated(st.just(body)))
    return Body(body, kind, lines)
