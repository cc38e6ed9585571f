"""Tables as CSV (RFC 4180): a header line, lines that end in CR LF, UTF-8.

Nothing is put in front of a cell that a spreadsheet might take for a formula. Of the characters that begin one ("=",
"+", "-", "@", TAB, CR) an id may have "-" only, and without brackets, quotes, "!" and "|", none of which ids have, the
most that such a cell can do is to show another cell; numbers may be negative, and have to stay numbers.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

CSV = "text/csv"


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the table; a column that a row has not is empty, as is None."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def prefers_csv(accept: str) -> bool:
    """Return whether an `Accept` header asks for CSV by its name, and for JSON less than that.

    Only a range that names JSON can ask for it as much: whoever sends `text/csv, */*` wants CSV.
    """
    quality = dict(_range(part) for part in accept.split(","))
    wanted = quality.get(CSV, 0.0)
    return wanted > 0 and wanted > quality.get("application/json", 0.0)


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0
