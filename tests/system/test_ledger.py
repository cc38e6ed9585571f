"""The checker is checked: each kind of damage is found, and nothing else."""

from pathlib import Path

import pytest

from tests.system.ledger import Key, Ledger, Stored, compare, key_of, make_key

TIME = "2026-02-09T12:00:00.000Z"
OLD = key_of("meter", {"meterId": "M1", "timestamp": "2026-02-09T11:00:00Z", "kwhConsumedAc": 1, "voltage": 230})
NEW = key_of("meter", {"meterId": "M1", "timestamp": TIME, "kwhConsumedAc": 10.5, "voltage": 230.25})
UNKNOWN = make_key("vehicle", "V1", TIME, [75.5, 9.5, -3.25])


def stored(*keys: Key) -> Stored:
    found = Stored()
    for key in keys:
        found.history[key] += 1
        found.newest[key[:2]] = found.current[key[:2]] = key
    return found


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(promised={OLD, NEW}, possible={OLD, NEW, UNKNOWN}, acknowledged=2)


def test_keys_from_both_sides_agree() -> None:
    assert make_key("meter", "M1", "2026-02-09T12:00:00", ["10.5000", "230.25"]) == NEW
    assert make_key("meter", "M1", "2026-02-09T13:00:00+01:00", [10.5, 230.25]) == NEW
    assert UNKNOWN[3] == (7550, 95000, -325)


def test_agreement_with_and_without_a_reading_of_unknown_outcome(ledger: Ledger) -> None:
    assert compare(ledger, stored(OLD, NEW)) == []
    assert compare(ledger, stored(OLD, NEW, UNKNOWN)) == []


def test_a_dead_letter_is_not_lost(ledger: Ledger) -> None:
    found = stored(NEW)
    found.dead[OLD] += 1
    assert compare(ledger, found) == []


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ((NEW,), "1 promised and not stored"),
        ((OLD, OLD, NEW), "1 stored more than once"),
        ((UNKNOWN, UNKNOWN, OLD, NEW), "1 stored more than once"),
        ((OLD, NEW, make_key("meter", "M2", TIME, [1, 1])), "1 stored, but never sent"),
        ((make_key("meter", "M1", TIME, [10.5, 230.26]), OLD, NEW), "1 stored, but never sent"),
    ],
)
def test_damage_in_history_is_found(ledger: Ledger, keys: tuple[Key, ...], what: str) -> None:
    differences = compare(ledger, stored(*keys))
    assert len(differences) == 1
    assert differences[0].startswith(what)


def test_a_reading_both_stored_and_parked_is_found(ledger: Ledger) -> None:
    found = stored(OLD, NEW)
    found.dead[OLD] += 1
    assert compare(ledger, found)[0].startswith("1 stored more than once")


def test_a_stale_a_missing_and_a_foreign_current_state_are_found(ledger: Ledger) -> None:
    found = stored(OLD, NEW)
    found.current["meter", "M1"] = OLD
    assert compare(ledger, found)[0].startswith("2 current, but not the newest")
    del found.current["meter", "M1"]
    assert compare(ledger, found)[0].startswith("1 current, but not the newest")
    found = stored(OLD, NEW)
    found.current["vehicle", "V1"] = UNKNOWN
    assert compare(ledger, found)[0].startswith("1 current, but not the newest")


def test_the_simulators_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    file.write_text(
        f'{{"readings":[["meter","M1","{TIME}",10.5,230.25],["meter","M2","yesterday",1,2]],"outcome":"accepted",'
        '"rejected_at":[1],"malformed":[1]}\n'
        f'{{"readings":[["vehicle","V1","{TIME}",75.5,9.5,-3.25]],"outcome":"unknown","rejected_at":[],"malformed":[]}}\n'
        f'{{"readings":[["meter","M3","{TIME}",1,2]],"outcome":"rejected","rejected_at":[0],"malformed":[]}}\n'
    )
    ledger = Ledger().read(file)
    assert (ledger.promised, ledger.possible, ledger.acknowledged) == ({NEW}, {NEW, UNKNOWN}, 1)
    # The third was good and was refused: that alone is a difference.
    assert len(compare(ledger, stored(NEW))) == 1
    assert "M3" in ledger.wrongs[0]
