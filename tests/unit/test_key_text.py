"""An API key as text, and what an operator may write about one."""

import hashlib
import re
from datetime import UTC, datetime

import pytest

from hseie import key_text
from hseie.key_text import default_burst, devices_mistake, expiry, name_mistake, new_key, pasted_key_id, split_key

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC).timestamp()
DAY_S = 86_400


def test_a_key_has_its_shape_and_comes_apart_again() -> None:
    key_id, secret = new_key()
    text = key_text.key_text(key_id, secret)
    assert re.fullmatch(r"hseie_[a-z2-7]{10}_[A-Za-z0-9_-]{43}", text)
    assert split_key(text) == (key_id, secret)
    assert len({new_key() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "presented",
    [
        "",
        "hseie_",
        "hseie_abcdefghij_" + 42 * "x",
        "hseie_abcdefghij_" + 44 * "x",
        "Hseie_abcdefghij_" + 43 * "x",
        "hseie_abcdefghijx" + 43 * "x",
        "x" * 100_000,
    ],
)
def test_what_has_another_shape_is_no_key(presented: str) -> None:
    assert split_key(presented) is None


def test_of_a_secret_its_sha256_is_kept_whatever_a_header_brings() -> None:
    assert key_text.digest("abc") == hashlib.sha256(b"abc").digest()
    assert len(key_text.digest("\udcff\ud800é")) == 32


def test_a_pasted_key_is_known_by_its_id_however_much_is_pasted_with_it() -> None:
    text = key_text.key_text("abcdefghij", 43 * "x")
    for pasted in (text, f"Authorization: Bearer {text}\n", text[:30]):
        assert pasted_key_id(pasted) == "abcdefghij"
    for other in ("abcdefghij", "hseie_abc_x", ""):
        assert pasted_key_id(other) is None


@pytest.mark.parametrize("name", ["a", "x" * 64, "fleet north", "Zählerpark 7", "hseie_test"])
def test_a_name_may_be(name: str) -> None:
    assert name_mistake(name) == ""


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x1b[2J", "a\u202eb", " a", "a ", "\ud800"])
def test_a_name_must_be_printable_and_short(name: str) -> None:
    assert "1 to 64 printable" in name_mistake(name)


def test_a_name_must_not_be_a_key() -> None:
    assert "stands in lists" in name_mistake(key_text.key_text(*new_key()))


@pytest.mark.parametrize("text", ["", "a b", "Ä", "x" * 51, "METER*", "a\n"])
def test_what_can_be_no_device_is_no_device_of_a_key(text: str) -> None:
    assert f"{text!r} is no device id" in devices_mistake(frozenset({"M1", text}), ())
    assert f"{text!r} is no beginning of a device id" in devices_mistake(frozenset(), ("M", text))


def test_a_key_names_so_many_devices_and_prefixes() -> None:
    named = [f"M{number}" for number in range(key_text.DEVICES_NAMED_MAX + 1)]
    assert devices_mistake(frozenset(named[1:]), ()) == ""
    assert "at most 1000 devices" in devices_mistake(frozenset(named), ())
    prefixes = tuple(named[: key_text.PREFIXES_MAX + 1])
    assert devices_mistake(frozenset(), prefixes[1:]) == ""
    assert "at most 32 prefixes" in devices_mistake(frozenset(), prefixes)


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("90d", 90 * DAY_S),
        ("12h", 12 * 3600),
        ("36500d", 36_500 * DAY_S),
        ("2026-11-25T10:00:00Z", DAY_S),
        ("2026-11-25t12:00:00.500+02:00", DAY_S + 0.5),
        ("2026-11-25 10:00:00z", DAY_S),
    ],
)
def test_an_expiry_is_a_span_or_a_time(text: str, after_s: float) -> None:
    assert expiry(text, NOW) == NOW + after_s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give a span"),
        ("90", "give a span"),
        ("-1d", "give a span"),
        ("1.5d", "give a span"),
        ("2027-01-31", "give a span"),
        ("2027-01-31T00:00:00", "with an offset"),
        ("٩d", "give a span"),
        ("0d", "1h to 36500d"),
        ("36501d", "1h to 36500d"),
        ("2027-02-30T00:00:00Z", "no such day"),
        ("2027-01-30T25:00:00Z", "no such day"),
        ("2026-11-24T10:00:00Z", "in the past"),
        ("0001-01-01T00:00:00+23:59", "no such day"),
    ],
)
def test_an_expiry_that_is_none_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expiry(text, NOW)


def test_the_burst_is_ten_seconds_of_the_rate_and_at_least_a_thousand() -> None:
    assert [default_burst(rate) for rate in (0.0, 0.02, 100.0, 100.1, 5000.0)] == [0, 1000, 1000, 1001, 50_000]
