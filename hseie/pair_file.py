"""Pairings as CSV: what `hseie pairs import` takes and `hseie pairs export` writes. Pure.

A line is a pairing to be set, as by `hseie pairs set`; all lines together, in the order of their starts.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hseie.answers import rfc3339
from hseie.errors import HseieError
from hseie.pair_plan import Pair, PairConflictError, Plan
from hseie.pair_request import FIELDS, InvalidPairError, Wanted, read_pair


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file, by its number, from 1."""

    number: int
    wanted: Wanted


class BadLinesError(HseieError):
    """Lines of the file cannot be taken, and so none was. `mistakes` names each: its number, and why."""

    def __init__(self, mistakes: Iterable[tuple[int, str]]) -> None:
        self.mistakes = sorted(mistakes)
        super().__init__(
            "\n".join((f"{len(self.mistakes)} lines are wrong, nothing was changed:", *map(_line, self.mistakes)))
        )


def _line(mistake: tuple[int, str]) -> str:
    return f"  line {mistake[0]}: {mistake[1]}"


def read_file(text: str) -> list[Line]:
    """Return the lines of a file. The first one names the columns, in any order; the times may be missing.

    An empty meter is none: nobody feeds the vehicle. An empty start is now, an empty end open. Raises BadLinesError.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    lines: list[Line] = []
    mistakes: list[tuple[int, str]] = []
    columns: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if columns is None:
                columns = _columns(cells, reader.line_num)
                continue
            if len(cells) != len(columns):
                mistakes.append((reader.line_num, f"has {len(cells)} columns of {len(columns)}"))
                continue
            try:
                lines.append(Line(reader.line_num, _wanted(columns, cells)))
            except InvalidPairError as error:
                mistakes.append((reader.line_num, str(error)))
    except csv.Error as error:
        mistakes.append((reader.line_num, f"is no CSV: {error}"))
    if columns is None:
        mistakes.append((1, f"there is no first line that names the columns, as in {','.join(FIELDS)}"))
    if mistakes:
        raise BadLinesError(mistakes)
    return lines


def _columns(cells: Sequence[str], number: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    mistakes = [f"the column {name!r} is unknown" for name in names if name not in FIELDS]
    mistakes += [f"the column {name} is missing" for name in FIELDS[:2] if name not in names]
    if len(set(names)) < len(names):
        mistakes.append("a column stands there twice")
    if mistakes:
        raise BadLinesError([(number, f"{'; '.join(mistakes)}; the columns are {', '.join(FIELDS)}")])
    return names


def _wanted(columns: Sequence[str], cells: Sequence[str]) -> Wanted:
    given = {name: cell.strip() or None for name, cell in zip(columns, cells, strict=True)}
    # Without a vehicle there is no pairing; without a meter there is one.
    return read_pair({**given, "vehicleId": given["vehicleId"] or ""})


def apply(plan: Plan, lines: Sequence[Line]) -> int:
    """Set the pairings of all lines, in the order of their starts; return how many were not so already.

    Raises BadLinesError, also where a line takes back what another one says.
    """
    mistakes: dict[int, str] = {}
    rows: list[tuple[Line, Pair]] = []
    changed = 0
    for line in sorted(lines, key=lambda line: (line.wanted.valid_from or plan.now, line.number)):
        try:
            change = plan.set(line.wanted)
        except (InvalidPairError, PairConflictError) as error:
            mistakes[line.number] = str(error)
            continue
        rows.append((line, change.pair))
        changed += change.changed
    for line, row in rows:
        now = plan.find(row.key)
        # One that has no end in the file ends where the next one of its vehicle or meter begins.
        if now is None or now.meter_id != row.meter_id or (row.valid_to is not None and now.valid_to != row.valid_to):
            mistakes[line.number] = "another line takes back what it says: they overlap"
    if mistakes:
        raise BadLinesError(mistakes.items())
    return changed


def write_file(pairs: Iterable[Pair]) -> str:
    """Return pairings as CSV, with CRLF at the ends of lines, as RFC 4180 has it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(FIELDS)
    for pair in pairs:
        end = rfc3339(pair.valid_to) if pair.valid_to is not None else ""
        writer.writerow((pair.vehicle_id, pair.meter_id or "", rfc3339(pair.valid_from), end))
    return text.getvalue()
