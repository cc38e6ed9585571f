"""Late, repeated and garbled readings, and how readings are put into requests."""

from collections import Counter
from itertools import islice
from random import Random

import orjson
import pytest

from simulator.answers import Verdict
from simulator.disturbance import LATE, MALFORMED, REPEAT, disturbed, malform
from simulator.fleet import Due, Fleet, Reading
from simulator.ledger import line, row
from simulator.posts import posts
from simulator.schedule import live_ticks
from simulator.tally import Tally

START_MS = 1_770_000_000_000
CADENCE_MS = 60_000


def stream(ticks: int = 20, devices: int = 20) -> list[Due]:
    fleet = Fleet(1, devices, 1, 0.0, CADENCE_MS)
    return list(fleet.readings(islice(live_ticks(START_MS, CADENCE_MS), ticks)))


def run(late: float = 0, repeat: float = 0, malformed: float = 0, seed: int = 1) -> list[Due]:
    return list(disturbed(iter(stream()), late, repeat, malformed, Random(seed), CADENCE_MS))


def bodies(dues: list[Due]) -> Counter[bytes]:
    return Counter(orjson.dumps(reading.fields) for _, reading in dues)


def test_no_shares_change_nothing() -> None:
    assert run() == stream()


def test_late_readings_arrive_once_in_order_of_sending_and_after_their_time() -> None:
    found = run(late=0.3)
    assert bodies(found) == bodies(stream())
    assert [at for at, _ in found] == sorted(at for at, _ in found)
    due = {orjson.dumps(reading.fields): at for at, reading in stream()}
    last = max(due.values())
    late = [(at, reading) for at, reading in found if reading.mark == LATE]
    assert 0.2 < len(late) / 800 < 0.4
    assert all(at >= min(last, due[orjson.dumps(reading.fields)] + CADENCE_MS) for at, reading in late)
    assert all(at <= due[orjson.dumps(reading.fields)] + 6 * CADENCE_MS for at, reading in late)
    assert sum(at < last for at, _ in late) > 0.7 * len(late)


def test_repeated_readings_are_sent_twice_unchanged() -> None:
    found = run(repeat=0.3)
    repeats = [reading for _, reading in found if reading.mark == REPEAT]
    assert 0.2 < len(repeats) / 800 < 0.4
    counted = bodies(found)
    assert all(counted[orjson.dumps(reading.fields)] == 2 for reading in repeats)
    assert sum(counted.values()) == 800 + len(repeats)
    assert [at for at, _ in found] == sorted(at for at, _ in found)


def test_a_malformed_reading_takes_the_place_of_the_good_one() -> None:
    found = run(malformed=0.3)
    assert len(found) == 800
    assert 0.2 < sum(reading.mark == MALFORMED for _, reading in found) / 800 < 0.4
    assert all(
        (reading.mark == MALFORMED) == (item != (at, reading))
        for (at, reading), item in zip(found, stream(), strict=True)
    )


def test_disturbances_repeat_with_their_seed() -> None:
    assert run(0.2, 0.2, 0.2, seed=5) == run(0.2, 0.2, 0.2, seed=5)
    assert run(0.2, 0.2, 0.2, seed=5) != run(0.2, 0.2, 0.2, seed=6)


@pytest.mark.parametrize("index", [0, 1])
def test_every_way_of_garbling_changes_the_copy_and_not_the_original(index: int) -> None:
    reading = stream(1, 1)[index][1]
    before = orjson.dumps(reading.fields)
    kinds = {orjson.dumps(malform(reading, Random(seed)).fields) for seed in range(300)}
    assert len(kinds) == 9
    assert before not in kinds
    assert orjson.dumps(reading.fields) == before


def test_a_request_a_reading() -> None:
    found = list(posts(iter(stream(2, 3)), 1))
    assert [(p.due_ms, p.readings) for p in found] == [(at, [reading]) for at, reading in stream(2, 3)]
    assert all(orjson.loads(p.body) == p.readings[0].fields for p in found)


def test_batches_are_of_one_kind_and_lose_nothing() -> None:
    source = stream(3, 5)
    found = list(posts(iter(source), 4))
    assert [len(p.readings) for p in found if p.kind == "meter"] == [4, 4, 4, 3]
    assert [len(p.readings) for p in found if p.kind == "vehicle"] == [4, 4, 4, 3]
    assert all(reading.kind == p.kind for p in found for reading in p.readings)
    for kind in ("meter", "vehicle"):
        sent = [fields for p in found if p.kind == kind for fields in orjson.loads(p.body)]
        assert sent == [reading.fields for _, reading in source if reading.kind == kind]
    due = {id(reading): at for at, reading in source}
    assert all(p.due_ms >= max(due[id(reading)] for reading in p.readings) for p in found)


def test_a_line_of_the_ledger() -> None:
    (_, meter), (_, vehicle) = stream(1, 1)
    good = row(meter)
    late = Reading(meter.kind, meter.fields, LATE)
    assert good[:3] == ["meter", "METER_001", meter.fields["timestamp"]]
    assert good[3:] == [meter.fields["kwhConsumedAc"], meter.fields["voltage"]]
    assert row(vehicle)[3:] == [vehicle.fields[name] for name in ("soc", "kwhDeliveredDc", "batteryTemp")]
    [post] = posts(iter([(0, late), (0, Reading("meter", {"meterId": 5}, MALFORMED))]), 2)
    written = line(post, 207, Verdict(accepted=1, rejected=1, rejected_at=(1,)), 2, "now")
    assert written.endswith(b"\n")
    assert orjson.loads(written) == {
        "readings": [good, ["meter", 5, None]],
        "status": 207,
        "outcome": "accepted",
        "accepted": 1,
        "duplicates": 0,
        "rejected": 1,
        "rejected_at": [1],
        "malformed": [1],
        "attempts": 2,
        "at": "now",
    }


def test_the_tally_adds_up_and_notices_when_an_answer_does_not() -> None:
    found = list(posts(iter(run(0.2, 0.2, 0.2)), 10))
    tally = Tally()
    for post in found:
        tally.finished(post, Verdict(accepted=len(post.readings)))
    summary = tally.summary(2.0)
    assert summary["accepted"] == summary["readings"] == sum(len(p.readings) for p in found)
    assert summary["readings_per_s"] == summary["readings"] / 2
    assert summary["malformed_sent"] == sum(r.mark == MALFORMED for p in found for r in p.readings) > 0
    assert summary["late_sent"] > 0
    assert summary["repeated_sent"] == summary["readings"] - 800
    assert summary["miscounted"] == 0
    assert summary["latency_ms"]["p99.9"] is None
    tally.finished(found[0], Verdict(accepted=3))
    assert tally.miscounted == 1
