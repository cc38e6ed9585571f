"""The counters that processes share: a slot each, the same bucket for all, and what a new process finds."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hseie.access import ALL_DEVICES, Key
from hseie.config import Http
from hseie.errors import HseieError
from hseie.rates import Rates
from hseie.shared_counters import PLACES, SLOTS, Seen, SharedCounters

PER_S, BURST = 200.0, 100

# What another process does: says which slot it has, then sends as fast as it may for a while, and says how much.
SENDER = """
import sys, time
from pathlib import Path
from hseie.rates import Rates
from hseie.shared_counters import SharedCounters
from tests.integration.test_rates import key
rates = Rates(counters := SharedCounters(Path(sys.argv[1])))
mine, sent = key(), 0
print(counters.slot, flush=True)
until = float(sys.stdin.readline())
looked = 0.0
while (now := time.monotonic()) < until:
    if now - looked > 0.1:
        rates.look(looked := now)
    if rates.wait_s(mine, now):
        time.sleep(0.001)
    else:
        rates.spend(mine, 1)
        sent += 1
print(sent, flush=True)
sys.stdin.readline()
"""


def key(place: int = 7, key_id: str = "k7", per_s: float = PER_S, burst: int = BURST) -> Key:
    return Key(key_id, "tests", b"", frozenset({"ingest"}), ALL_DEVICES, per_s, burst, 0, place, 0.0)


class Sender:
    """Another process with counters of its own."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SENDER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.slot = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[SharedCounters]:
    counters = SharedCounters(tmp_path)
    yield counters
    counters.close()


def test_several_processes_together_keep_within_the_limit(tmp_path: Path) -> None:
    senders = [Sender(tmp_path) for _ in range(2)]
    try:
        assert [sender.slot for sender in senders] == [0, 1]
        began = time.monotonic()
        until = began + 2.0
        for sender in senders:
            sender.tell(str(until))
        sent = [int(sender.line()) for sender in senders]
        took_s = time.monotonic() - began
        print(f"sent {sent} in {took_s:.2f} s, {BURST + PER_S * took_s:.0f} allowed")
        assert min(sent) > 0
        # What both take in the moment before either sees the other is a reading or two, and is paid off.
        assert sum(sent) <= BURST + PER_S * took_s + 4
        assert sum(sent) > BURST
    finally:
        for sender in senders:
            sender.end()


def test_a_process_that_is_killed_leaves_its_slot_and_what_it_spent(tmp_path: Path) -> None:
    first = Sender(tmp_path)
    second = Sender(tmp_path)
    try:
        first.tell(str(time.monotonic() + 0.3))
        spent = int(first.line())
        first.end()
        third = Sender(tmp_path)
        assert (second.slot, third.slot) == (1, 0)
        third.end()
        counters = SharedCounters(tmp_path)
        assert (counters.slot, counters.total(7)) == (0, spent)
        counters.close()
    finally:
        first.end()
        second.end()


def test_a_restarted_process_gives_no_new_burst(tmp_path: Path) -> None:
    now = time.monotonic()
    counters = SharedCounters(tmp_path)
    rates = Rates(counters)
    assert rates.wait_s(key(), now) == 0
    rates.spend(key(), BURST + 50)
    rates.look(now)
    counters.close()
    again = SharedCounters(tmp_path)
    assert Rates(again).wait_s(key(), now + 0.01) == pytest.approx(0.245, abs=0.01)
    assert Rates(again).wait_s(key(), now + 0.3) == 0
    again.close()


def test_a_burst_after_a_pause_is_known_to_a_new_process_too(counters: SharedCounters) -> None:
    now = time.monotonic() - 60
    rates = Rates(counters)
    assert rates.wait_s(key(), now) == 0
    assert rates.wait_s(key(), now + 50) == 0
    rates.spend(key(), BURST + 50)
    rates.look(now + 50)
    assert Rates(counters).wait_s(key(), now + 50) == pytest.approx(0.255, abs=0.01)


def test_a_process_that_comes_later_is_seen(counters: SharedCounters, tmp_path: Path) -> None:
    rates = Rates(counters)
    rates.wait_s(key(), time.monotonic())
    sender = Sender(tmp_path)
    try:
        assert sender.slot == 1
        sender.tell(str(time.monotonic() + 0.3))
        spent = int(sender.line())
        rates.look(time.monotonic())
        assert counters.total(7) == spent >= BURST
    finally:
        sender.end()


def test_what_was_spent_after_the_others_were_told_is_known_all_the_same(counters: SharedCounters) -> None:
    now = time.monotonic()
    rates = Rates(counters)
    assert rates.wait_s(key(), now) == 0  # told: full
    rates.spend(key(), BURST + 20)
    assert Rates(counters).wait_s(key(), now) == pytest.approx(0.1, abs=0.01)


def test_a_place_that_had_another_key_before_begins_full(counters: SharedCounters) -> None:
    now = time.monotonic()
    rates = Rates(counters)
    rates.wait_s(key(), now)
    rates.spend(key(), 10**9)
    rates.look(now)
    assert Rates(counters).wait_s(key(key_id="another"), now) == 0
    assert rates.wait_s(key(key_id="another"), now) == 0
    assert Rates(counters).wait_s(key(place=8), now) == 0


def test_a_request_that_outlives_its_key_charges_nobody_else(counters: SharedCounters) -> None:
    now = time.monotonic()
    rates = Rates(counters)
    former, heir = key(), key(key_id="another")
    rates.wait_s(former, now)
    rates.wait_s(heir, now)
    rates.spend(former, 10**6)
    assert counters.total(7) == 0
    assert rates.wait_s(heir, now) == 0
    rates.spend(key(key_id="another", per_s=PER_S / 2), BURST + 20)  # the same in another form
    assert rates.wait_s(heir, now) == pytest.approx(0.1, abs=0.01)


def test_debt_is_below_zero_only(counters: SharedCounters) -> None:
    now = time.monotonic()
    rates = Rates(counters)
    assert rates.debt_wait_s(key(per_s=0.0), now) == 0
    rates.wait_s(key(), now)
    rates.spend(key(), BURST)
    assert rates.wait_s(key(), now) > 0
    assert rates.debt_wait_s(key(), now) == 0
    rates.spend(key(), 20)
    assert rates.debt_wait_s(key(), now) == pytest.approx(0.1, abs=0.02)
    rates.spend(key(), -20)
    assert rates.debt_wait_s(key(), now) == 0


def test_an_entry_that_is_written_while_it_is_read_is_read_again(counters: SharedCounters) -> None:
    """Another process shows two views of a bucket in turns; each is seen whole, whatever falls between two words."""
    views = [Seen(float(number), number, float(number)) for number in (1, 2)]

    class Interrupted:
        """The words of the file, which are written anew after some of them were read."""

        def __init__(self, words: memoryview, after: int) -> None:
            self.words, self.left = words, after

        def __getitem__(self, index: Any) -> Any:
            if isinstance(index, slice):
                return [self[each] for each in range(*index.indices(len(self.words)))]
            value = self.words[index]
            self.left -= 1
            if self.left == 0:
                counters._words = self.words  # what publishes writes there
                counters.publish(7, 99, views[1])
                counters._words = self  # type: ignore[assignment]
            return value

    words = counters._words
    for after in range(1, 10):
        counters.publish(7, 99, views[0])
        counters._words = Interrupted(words, after)  # type: ignore[assignment]
        assert counters.newest(7, 99, 10.0) in views
        counters._words = words


def test_an_entry_that_never_holds_still_is_none(counters: SharedCounters, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)

    def torn(_: object) -> tuple[int, ...]:
        return (0, 99, next(numbers), 0, 1 << 62)

    monkeypatch.setattr("hseie.shared_counters.tuple", torn, raising=False)
    assert counters.newest(7, 99, 1e9) is None


def test_a_key_that_was_given_other_limits_keeps_its_debt(counters: SharedCounters) -> None:
    now = time.monotonic()
    rates = Rates(counters)
    rates.wait_s(key(), now)
    rates.spend(key(), BURST + 1000)
    assert rates.wait_s(key(per_s=1000), now) == pytest.approx(1.0, abs=0.01)


def test_a_key_without_a_rate_costs_no_counter(counters: SharedCounters) -> None:
    unlimited = key(per_s=0.0)
    rates = Rates(counters)
    assert rates.wait_s(unlimited, 0.0) == 0
    rates.spend(unlimited, 10**6)
    assert counters.total(7) == 0


def test_what_was_seen_before_a_reboot_does_not_count(counters: SharedCounters) -> None:
    counters.publish(7, 99, Seen(-500.25, 3, 1000.0))
    assert counters.newest(7, 99, 1000.0) == Seen(-500.25, 3, 1000.0)
    assert counters.newest(7, 99, 999.0) is None  # its clock began anew
    assert counters.newest(7, 98, 1000.0) is None


def test_there_are_slots_for_all_processes_and_their_successors() -> None:
    most = next(field for field in msgspec.structs.fields(Http) if field.name == "acceptors").type.__metadata__[0].le
    with_http = most + 1  # and analytics
    assert 2 * with_http <= SLOTS


def test_places_do_not_touch_each_other(counters: SharedCounters) -> None:
    counters.add(0, 1)
    counters.add(PLACES - 1, 5)
    counters.publish(1, 2**64 - 1, Seen(1.0, 2, 3.0))
    assert [counters.total(place) for place in (0, 1, 2, PLACES - 2, PLACES - 1)] == [1, 0, 0, 0, 5]


def test_the_file_takes_little_room(counters: SharedCounters, tmp_path: Path) -> None:
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 128 << 20
    assert file.stat().st_blocks * 512 <= 4 * (PLACES * 40)
    assert file.stat().st_mode & 0o077 == 0
    counters.close()
    counters.close()


def test_a_folder_that_takes_no_file_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(HseieError, match="make room"):
        SharedCounters(tmp_path / "absent")


def test_the_room_of_a_slot_is_taken_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(HseieError, match="No space left"):
        SharedCounters(tmp_path)
