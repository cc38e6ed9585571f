"""What each pure stop on the way of a reading costs, in batches of 1,000 readings and one by one.

`make bench` times them; every test run does each once. Divide by 1,000 for the cost of a reading in a batch.
"""

import gzip
import time
from typing import Any

import orjson
import pytest

from hseie.acceptor.answers import answer_batch, answer_one
from hseie.acceptor.inflate import pieces
from hseie.acceptor.parse import ReadingParser
from hseie.acceptor.request_head import coding_of, is_ndjson, read_preference
from hseie.acceptor.tickets import Receipt
from hseie.frames import Frame, Part, decode, parse_frame, shard_of
from hseie.late_readings import marks
from hseie.readings import METER, VEHICLE
from hseie.writer.batch import Batch, split_lines
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.state import StateMap

READINGS = 1000
NOW = 1_795_000_000.0
BODY = orjson.dumps(
    [
        {
            "vehicleId": f"VEHICLE_{number:05d}",
            "soc": 75.5,
            "kwhDeliveredDc": 0.1234 + number / 1000,
            "batteryTemp": 28.5,
            "timestamp": f"2026-11-18T11:06:40.{number:03d}Z",
        }
        for number in range(READINGS)
    ]
)
SINGLE = orjson.dumps(
    {"meterId": "METER_00001", "kwhConsumedAc": 0.1234, "voltage": 230.4, "timestamp": "2026-11-18T11:06:40.123Z"}
)


LINES = b"\n".join(map(orjson.dumps, orjson.loads(BODY))) + b"\n"
MIXED = orjson.dumps([*orjson.loads(BODY), *[orjson.loads(SINGLE)] * READINGS])


def _parser() -> ReadingParser:
    return ReadingParser(shards=2, batch_readings_max=10_000, future_max_s=300, past_max_days=400)


@pytest.fixture(scope="module")
def frame() -> Frame:
    [rows] = ReadingParser(1, 10_000, 300, 400).parse(BODY, VEHICLE, NOW).rows[VEHICLE.number].values()
    return Frame(1, 1, False, (Part(VEHICLE.number, READINGS, "".join(rows).encode()),))


def test_parse_a_batch(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, BODY, VEHICLE, NOW).accepted == READINGS


def test_parse_one(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, SINGLE, METER, NOW).accepted == 1


def test_parse_lines(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, LINES, VEHICLE, NOW, lines=True).accepted == READINGS


def test_parse_lines_of_which_one_is_bad(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, LINES + b"{\n", VEHICLE, NOW, lines=True).accepted == READINGS


def test_parse_both_kinds(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, MIXED, None, NOW).accepted == 2 * READINGS  # twice as many as the others


def test_parse_one_of_any_kind(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, SINGLE, None, NOW).accepted == 1


def test_parse_a_batch_of_allowed_devices(benchmark: Any) -> None:
    parser = _parser()
    assert benchmark(parser.parse, BODY, VEHICLE, NOW, {}.get).accepted == READINGS


def test_explain_a_bad_batch(benchmark: Any) -> None:
    parser = _parser()
    bad = BODY.replace(b"75.5", b"175.5")
    assert benchmark(parser.parse, bad, VEHICLE, NOW).rejected == READINGS


def test_shard_of_a_new_device(benchmark: Any) -> None:
    assert benchmark(shard_of, "VEHICLE_00001", 4) in range(4)


def test_encode_a_frame(benchmark: Any, frame: Frame) -> None:
    assert benchmark(frame.encode)


def test_decode_and_check_a_frame(benchmark: Any, frame: Frame) -> None:
    body = frame.encode()
    assert benchmark(lambda: parse_frame(decode(body))) == frame


def test_split_into_lines(benchmark: Any, frame: Frame) -> None:
    assert len(benchmark(split_lines, frame.parts[0].rows)) == READINGS


def test_dedupe_new_lines(benchmark: Any, frame: Frame) -> None:
    lines = split_lines(frame.parts[0].rows)

    def check() -> list[int]:
        return DedupeWindow(60, 1_000_000, 1 << 30, time.monotonic()).check(VEHICLE.number, lines)

    assert benchmark(check) == []


def test_dedupe_known_lines(benchmark: Any, frame: Frame) -> None:
    lines = split_lines(frame.parts[0].rows)
    window = DedupeWindow(60, 1_000_000, 1 << 30, time.monotonic())
    window.remember(VEHICLE.number, lines)
    assert len(benchmark(window.check, VEHICLE.number, lines)) == READINGS


def test_add_a_frame_to_a_batch(benchmark: Any, frame: Frame) -> None:
    parts = [(part, split_lines(part.rows)) for part in frame.parts]

    def add() -> Batch:
        batch = Batch()
        batch.add(1, parts, {})
        return batch

    assert benchmark(add).readings == READINGS


def test_add_a_frame_of_many_hours(benchmark: Any, frame: Frame) -> None:
    hours = [b"-18T%02d:" % hour for hour in range(24)]
    lines = [line.replace(b"-18T11:", hours[place % 24]) for place, line in enumerate(split_lines(frame.parts[0].rows))]
    part = Part(VEHICLE.number, READINGS, b"".join(line + b"\n" for line in lines))
    batch = Batch()
    benchmark(lambda: batch.add(1, [(part, lines)], {}))
    assert len(batch.kinds[VEHICLE.number].hours) == 24


def test_mark_a_frame_of_late_lines(benchmark: Any, frame: Frame) -> None:
    batch = Batch()
    batch.add(1, [(part, split_lines(part.rows)) for part in frame.parts], {})
    kind = batch.kinds[VEHICLE.number]
    closed = b"2026-11-19T00"
    assert len(benchmark(lambda: marks(VEHICLE, kind.lines_around(closed), closed))) == READINGS


def test_leave_out_late_states(benchmark: Any, frame: Frame) -> None:
    batch = Batch()
    batch.add(1, [(part, split_lines(part.rows)) for part in frame.parts], {})
    state = StateMap(1_000_000)
    state.learn(batch)
    benchmark(state.leave_out_older, batch)
    assert len(batch.kinds[VEHICLE.number].changed) == READINGS


def test_sort_the_changed_devices(benchmark: Any, frame: Frame) -> None:
    batch = Batch()
    batch.add(1, [(part, split_lines(part.rows)) for part in frame.parts], {})
    assert benchmark(batch.kinds[VEHICLE.number].changed_rows)


def test_answer_one(benchmark: Any) -> None:
    parsed = _parser().parse(SINGLE, METER, NOW)
    assert benchmark(answer_one, METER, parsed, Receipt(1, 2, {}), False, False)[0] == 202


def test_answer_a_batch(benchmark: Any) -> None:
    parsed = _parser().parse(BODY, VEHICLE, NOW)
    assert benchmark(answer_batch, parsed, [Receipt(0, 1, {}), Receipt(1, 2, {})], 0, False)[0] == 202


def test_read_what_a_head_says_of_the_body(benchmark: Any) -> None:
    assert benchmark(lambda: (is_ndjson(("application/json",)), coding_of(()))) == (False, None)


def test_inflate_a_batch(benchmark: Any) -> None:
    packed = gzip.compress(BODY)
    assert benchmark(lambda: b"".join(pieces(packed, "gzip"))) == BODY


def test_read_a_preference(benchmark: Any) -> None:
    assert benchmark(read_preference, "wait=10", False, 30.0).wait
