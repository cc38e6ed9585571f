"""A row of the catalogue: one thing that somebody may send, and what comes of it.

Texts hold places that are filled in when the row is sent: `@ID@` is the device of the row, which no other row uses;
`@0@` the moment of sending as an RFC 3339 time, `@-60@` a minute before it, `@3600:%Y-%m-%dT%H:%M:%S+01:00@` an hour
after it in the format given.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from hseie.readings import METER, Field, Kind

MARKER = "eCh0mE"
"""What stands in every refused text of the sender's own, and in no answer."""

JSON = (("Content-Type", "application/json"),)
NDJSON = (("Content-Type", "application/x-ndjson"),)
USUAL_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
MICROSECONDS = "%Y-%m-%dT%H:%M:%S.%fZ"

Framing = Literal["length", "chunked", "none"]

_PLACE = re.compile(rb"@([+-]?\d+)(?::([^@]*))?@")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is sent, and what is expected.

    `raw` is a whole request, in place of its parts. `errors` are texts like "7 /voltage out_of_range": the item's index
    in a batch, the pointer and the code, as many of them as there are. `stores` are the lines that history has
    of this row afterwards (`stored`). `counts` are accepted, duplicates and rejected of an answer to a batch. `closed`:
    the connection ends with the answer; otherwise the next request is answered on it.
    """

    name: str
    method: str = "POST"
    path: str = "/v1/ingest/meter"
    headers: tuple[tuple[str, str], ...] = JSON
    body: str | bytes = b""
    pack: Callable[[bytes], bytes] = bytes
    framing: Framing = "length"
    raw: bytes = b""
    status: int
    code: str = ""
    errors: tuple[str, ...] = ()
    counts: tuple[int, int, int] | None = None
    stores: tuple[str, ...] = ()
    answer_has: tuple[str, ...] = ()
    closed: bool = False

    @property
    def device(self) -> str:
        return f"row.{zlib.crc32(self.name.encode()):08x}"

    def fill(self, text: str | bytes, now: datetime) -> bytes:
        """Return a text of this row with its places filled in."""
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        raw = raw.replace(b"@ID@", self.device.encode())

        def moment(match: re.Match[bytes]) -> bytes:
            form = (match[2] or USUAL_FORMAT.encode()).decode()
            return (now + timedelta(seconds=int(match[1]))).strftime(form).encode()

        return _PLACE.sub(moment, raw)

    def request(self, now: datetime) -> bytes:
        """Return the bytes that go on the wire."""
        if self.raw:
            return self.fill(self.raw, now)
        body = self.pack(self.fill(self.body, now))
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        if self.framing == "length" and (body or self.method == "POST"):
            head += f"Content-Length: {len(body)}\r\n"
        if self.framing == "chunked":
            head += "Transfer-Encoding: chunked\r\n"
            body = in_chunks(body)
        return self.fill(head, now) + b"\r\n" + body

    def stored_lines(self, now: datetime) -> list[str]:
        return [self.fill(line, now).decode() for line in self.stores]


def in_chunks(body: bytes, size: int = 1000) -> bytes:
    """Return a body in the framing of `Transfer-Encoding: chunked`."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def whole_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def usual_value(field: Field) -> str:
    """A value well inside the range, as JSON."""
    return f"{min(field.maximum, field.minimum + 50) - 0.25:.{field.scale}f}"


def reading(kind: Kind = METER, *, without: tuple[str, ...] = (), **literals: str) -> str:
    """The JSON text of a reading. `literals` replace or add members, as JSON texts."""
    usual = {kind.id_wire: '"@ID@"', **{field.wire: usual_value(field) for field in kind.fields}, "timestamp": '"@0@"'}
    members = {name: text for name, text in (usual | literals).items() if name not in without}
    return "{" + ", ".join(f'"{name}": {text}' for name, text in members.items()) + "}"


def rounded(value: float | str, scale: int) -> str:
    """What PostgreSQL shows of a number in a column with so many decimals; halves as the binary number has them."""
    number = Decimal(float(value)).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN)
    return f"{abs(number) if number == 0 else number:f}"


def stored(kind: Kind = METER, device: str = "@ID@", time: str = f"@0:{MICROSECONDS}@", **values: str) -> str:
    """A line of `stores`: kind, device, time in microseconds and values, as PostgreSQL shows them."""
    texts = [rounded(values.get(field.wire, usual_value(field)), field.scale) for field in kind.fields]
    return " ".join((kind.name, device, time, *texts))


def ingest_path(kind: Kind) -> str:
    return f"/v1/ingest/{kind.name}"


def batch(*items: str) -> str:
    return "[" + ", ".join(items) + "]"
