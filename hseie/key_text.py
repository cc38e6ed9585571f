"""An API key as text, and what an operator may write about one. Pure.

A key is `hseie_<key id>_<secret>`: the id is public and stands in lists and logs; the secret is 256 random bits, of
which only the SHA-256 is kept. Somebody who finds one in a log or a repository sees what it is by its first letters.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime

from hseie.readings import is_device_id

KEYS_MAX = 4096  # of a node, those that are revoked or expired and not removed included
DEVICES_NAMED_MAX = 1000  # of one key; every process holds them
DEVICES_COUNTED_MAX = 1_000_000  # of one key: what a --devices-max may be; about 100 bytes each in the file
PREFIXES_MAX = 32  # of one key; each costs time at every device
NAME_LENGTH_MAX = 64

_FIRST = "hseie_"
_ID_LENGTH = 10
_SECRET_BYTES = 32
_ID_ENDS = len(_FIRST) + _ID_LENGTH
_LENGTH = _ID_ENDS + 1 + -(-_SECRET_BYTES * 4 // 3)
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_SOMEWHERE = re.compile(rf"{_FIRST}([{_BASE32}]{{{_ID_LENGTH}}})_")

_DAY_S = 86_400
_SPAN_UNITS_S = {"h": 3600, "d": _DAY_S}
_SPAN_MAX_S = 36_500 * _DAY_S
_SPAN = re.compile(r"(\d{1,6})([hd])", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_BURST_S = 10
_BURST_READINGS_MIN = 1000


def new_key() -> tuple[str, str]:
    """Return the id and the secret of a key that nobody has yet."""
    return "".join(secrets.choice(_BASE32) for _ in range(_ID_LENGTH)), secrets.token_urlsafe(_SECRET_BYTES)


def key_text(key_id: str, secret: str) -> str:
    """Return what the holder of a key sends."""
    return f"{_FIRST}{key_id}_{secret}"


def split_key(presented: str) -> tuple[str, str] | None:
    """Return key id and secret of what somebody presents; None for what has not the shape of a key."""
    if len(presented) != _LENGTH or presented[: len(_FIRST)] != _FIRST or presented[_ID_ENDS] != "_":
        return None
    return presented[len(_FIRST) : _ID_ENDS], presented[_ID_ENDS + 1 :]


def digest(secret: str) -> bytes:
    """Return what is kept of a secret."""
    # What a header brings need not be encodable; nothing that is not becomes a secret by a question mark.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def pasted_key_id(text: str) -> str | None:
    """Return the key id in a text that holds a key or the beginning of one, as when somebody pastes a whole header."""
    found = _SOMEWHERE.search(text)
    return found[1] if found else None


def name_mistake(name: str) -> str:
    """Return what is wrong with a key's name; nothing when nothing is."""
    if not 1 <= len(name) <= NAME_LENGTH_MAX or not name.isprintable() or name != name.strip():
        return f"a name is 1 to {NAME_LENGTH_MAX} printable characters, without blanks at its ends"
    if pasted_key_id(name):
        return "a name must not be a key: it stands in lists and logs"
    return ""


def devices_mistake(named: frozenset[str], prefixes: tuple[str, ...]) -> str:
    """Return what is wrong with the devices of a key; nothing when nothing is."""
    for kind, texts in (("device id", sorted(named)), ("beginning of a device id", prefixes)):
        for text in texts:
            if not is_device_id(text):
                return f"{text!r} is no {kind}: 1 to 50 of A-Z a-z 0-9 . _ : -"
    if len(named) > DEVICES_NAMED_MAX:
        return f"a key names at most {DEVICES_NAMED_MAX} devices; use prefixes"
    if len(prefixes) > PREFIXES_MAX:
        return f"a key has at most {PREFIXES_MAX} prefixes"
    return ""


def expiry(text: str, now: float) -> float:
    """Return the Unix seconds that a span from `now` (90d, 12h) or an RFC 3339 time means. Raises ValueError."""
    if match := _SPAN.fullmatch(text):
        span_s = int(match[1]) * _SPAN_UNITS_S[match[2]]
        if not 0 < span_s <= _SPAN_MAX_S:
            raise ValueError("a key may be good for 1h to 36500d")
        return now + span_s
    if not _RFC3339.fullmatch(text):
        raise ValueError("give a span, like 90d or 12h, or an RFC 3339 time with an offset, like 2027-01-31T00:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("there is no such day or time of day") from None
    if moment <= now:
        raise ValueError("that is in the past; a key that is to be good no longer is revoked")
    return moment


def default_burst(readings_per_s: float) -> int:
    """Return how many readings may come at once at a rate, where nobody says otherwise; 0 where there is no rate.

    Ten seconds of it, as after a short break of the network, and a thousand for those with a low rate who send what
    they have gathered.
    """
    return max(round(_BURST_S * readings_per_s), _BURST_READINGS_MIN) if readings_per_s else 0
