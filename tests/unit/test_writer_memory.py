"""What a writer keeps in memory, held against simple models: the state map and the dedupe window."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hseie.frames import Part
from hseie.late_readings import marks
from hseie.readings import METER
from hseie.writer.batch import Batch, split_lines
from hseie.writer.dedupe import DedupeWindow
from hseie.writer.refusals import RefusalBudget
from hseie.writer.state import StateMap

devices = st.sampled_from([b"A", b"B", b"C"])
times = st.sampled_from(
    [
        b"2026-01-01T00:00:00",
        b"2026-01-01T00:00:00.5",
        b"2026-01-01T00:00:01",
        b"2026-01-01T23:59:59.999",
        b"2026-01-02T00:00:00",
    ]
)
readings = st.lists(st.tuples(devices, times, st.integers(0, 3)), max_size=30)


def _line(device: bytes, time: bytes, value: int) -> bytes:
    return b"\t".join((device, time, str(value).encode()))


def _batch(lines: list[bytes], kind: int = 0) -> Batch:
    batch = Batch()
    if lines:
        rows = b"".join(line + b"\n" for line in lines)
        batch.add(1, [(Part(kind, len(lines), rows), lines)], {})
    return batch


@given(st.lists(st.tuples(readings, st.booleans()), max_size=6), st.sampled_from([1, 1000]))
def test_the_current_table_follows_the_newest_and_of_equal_times_the_later(batches: list, devices_max: int) -> None:
    state = StateMap(devices_max)
    current: dict[bytes, tuple[bytes, bytes]] = {}  # what the current table holds, with its own guard
    model: dict[bytes, tuple[bytes, bytes]] = {}
    for readings_of_batch, dropped in batches:
        batch = _batch([_line(*reading) for reading in readings_of_batch])
        state.leave_out_older(batch)
        if dropped:
            continue  # it did not commit, and is made anew from the journal: here, never
        for device, time, value in readings_of_batch:
            if device not in model or time >= model[device][0]:
                model[device] = (time, _line(device, time, value))
        for device, line in batch.kinds[0].changed.items():
            time = line.split(b"\t")[1]
            if device not in current or time >= current[device][0]:
                current[device] = (time, line)
        state.learn(batch)
        assert current == model


def test_the_state_map_does_not_outgrow_its_limit() -> None:
    state = StateMap(devices_max=10)
    for number in range(1000):
        state.learn(_batch([_line(str(number).encode(), b"t", 0)]))
    assert len(state) <= 11


def test_a_late_reading_changes_nothing() -> None:
    state = StateMap(100)
    state.learn(_batch([_line(b"A", b"2026-01-02", 1)]))
    late = _batch([_line(b"A", b"2026-01-01", 2)])
    state.leave_out_older(late)
    assert late.kinds[0].changed == {}


def test_kinds_do_not_share_devices() -> None:
    state = StateMap(100)
    state.learn(_batch([_line(b"A", b"2026-01-02", 1)], kind=0))
    other = _batch([_line(b"A", b"2026-01-01", 2)], kind=1)
    state.leave_out_older(other)
    assert other.kinds[1].changed


lines = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), min_size=1, max_size=6)


@given(st.lists(lines, max_size=8))
def test_inside_the_window_a_line_is_new_once(frames: list[list[bytes]]) -> None:
    window = DedupeWindow(window_s=60, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    seen: set[bytes] = set()
    for seq, frame in enumerate(frames):
        window.turn(seq, 1, now=1)
        expected = []
        for index, line in enumerate(frame):
            if line in seen:
                expected.append(index)
            seen.add(line)
        assert window.check(0, frame) == expected


@given(st.lists(st.tuples(st.floats(0, 50), lines), min_size=1, max_size=20))
def test_a_line_is_remembered_for_the_window_and_the_journal_keeps_what_that_needs(frames: list) -> None:
    window = DedupeWindow(window_s=60, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    now, arrivals = 0.0, []
    for seq, (pause, frame) in enumerate(frames):
        now += pause
        window.turn(seq, 1, now)
        duplicates = window.check(0, frame)
        young = {line for at, _, some in arrivals if now - at < 60 for line in some}
        for index, line in enumerate(frame):
            if line in young:
                assert index in duplicates
        new = [line for index, line in enumerate(frame) if index not in duplicates]
        arrivals.append((now, seq, new))  # the window counts from the reading that was stored
        # What a restart rebuilds: the frames from first_seq on.
        rebuilt = {line for _, at_seq, some in arrivals if at_seq >= window.first_seq for line in some}
        assert young <= rebuilt


def test_the_window_forgets_after_twice_its_length() -> None:
    window = DedupeWindow(window_s=60, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    for seq, now in enumerate((0, 61, 122, 183)):
        window.turn(seq, 1, now)
        assert window.check(0, [b"line-of-the-start"] if now in (0, 183) else [str(now).encode()]) == []


def test_the_window_does_not_outgrow_its_limit() -> None:
    window = DedupeWindow(window_s=1e9, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    for seq in range(200):
        window.turn(seq, 1, now=0)
        window.check(0, [f"{seq}-{index}".encode() for index in range(100)])
    assert len(window) <= 1000 + 100
    assert window.first_seq >= 180


def test_re_sends_alone_do_not_keep_the_journal_full() -> None:
    window = DedupeWindow(window_s=1e9, readings_max=1000, frame_bytes_max=10_000, now=0)
    for seq in range(100):
        window.turn(seq, 1000, now=0)
        window.check(0, [b"always the same"])
    assert window.first_seq >= 89


def test_turned_off_nothing_is_a_duplicate_and_nothing_is_kept() -> None:
    window = DedupeWindow(window_s=0, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    window.turn(1, 1, 0)
    assert window.check(0, [b"a", b"a"]) == []
    window.remember(0, [b"a"])
    assert len(window) == 0
    assert window.first_seq is None


def test_kinds_do_not_share_a_window() -> None:
    window = DedupeWindow(window_s=60, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    assert window.check(0, [b"a"]) == []
    assert window.check(1, [b"a"]) == []


def test_lines_from_a_journal_are_known() -> None:
    window = DedupeWindow(window_s=60, readings_max=1000, frame_bytes_max=1 << 30, now=0)
    window.turn(5, 1, now=0)
    window.remember(0, [b"a"])
    assert window.check(0, [b"a", b"b"]) == [0]
    assert window.first_seq == 5


def test_a_batch_leaves_out_re_sends_and_counts_them() -> None:
    batch = Batch()
    rows = b"B\t2026-01-02T00:00:00\t1\nA\t2026-01-01T00:00:00\t2\nB\t2026-01-02T00:00:00\t1\n"
    batch.add(7, [(Part(0, 3, rows), split_lines(rows))], {0: [2]})
    kind = batch.kinds[0]
    assert (batch.last_seq, kind.received, kind.duplicates) == (7, 3, 1)
    assert b"".join(kind.pieces) == b"B\t2026-01-02T00:00:00\t1\nA\t2026-01-01T00:00:00\t2\n"
    assert kind.changed_rows() == b"A\t2026-01-01T00:00:00\t2\nB\t2026-01-02T00:00:00\t1\n"  # sorted by device
    assert batch.days() == [(0, "2026-01-01"), (0, "2026-01-02")]


@given(st.lists(st.lists(st.tuples(devices, times, st.booleans()), min_size=1, max_size=6), max_size=6))
def test_the_hours_of_a_batch_are_those_of_its_lines_without_re_sends(frames: list) -> None:
    batch = Batch()
    hours: Counter[bytes] = Counter()
    days: Counter[bytes] = Counter()
    for seq, frame in enumerate(frames):
        lines = [_line(device, time, 1) for device, time, _ in frame]
        rows = b"".join(line + b"\n" for line in lines)
        marked = [index for index, (_, _, is_again) in enumerate(frame) if is_again]
        batch.add(seq, [(Part(0, len(lines), rows), lines)], {0: marked} if marked else {})
        new = [time for _, time, is_again in frame if not is_again]
        hours.update(time[:13] for time in new)
        days.update(time[:10] for time in new)
    assert batch.kinds[0].hours == hours
    assert batch.kinds[0].days == days
    assert batch.days() == [(0, day.decode()) for day in sorted(days)]


@given(
    st.lists(st.lists(st.tuples(devices, times), min_size=1, max_size=6), max_size=6),
    st.sampled_from(
        [b"", *(b"2026-01-%b" % minute for minute in (b"01T00:00", b"01T01:01", b"01T23:02", b"02T00:01", b"02T01:00"))]
    ),
)
def test_what_a_batch_holds_before_a_minute_is_found_and_marked(frames: list, until: bytes) -> None:
    batch = Batch()
    expected = set()
    for seq, frame in enumerate(frames):
        lines = [_line(device, time, 1) for device, time in frame]
        batch.add(seq, [(Part(0, len(lines), b"".join(line + b"\n" for line in lines)), lines)], {})
        late = [(device, time[:13]) for device, time in frame if time[:16] < until]
        expected |= {b"meter\t%b\t%b:00\n" % pair for pair in late}
    around = batch.kinds[0].lines_around(until)
    assert marks(METER, around, until) == expected
    assert bool(around) == bool(expected)  # what has no late line costs nothing


def test_a_frame_of_re_sends_only_moves_the_sequence() -> None:
    batch = Batch()
    rows = b"B\t2026-01-02T00:00:00\t1\n"
    batch.add(8, [(Part(0, 1, rows), split_lines(rows))], {0: [0]})
    assert (batch.last_seq, batch.readings, batch.kinds[0].pieces, batch.kinds[0].changed) == (8, 1, [], {})


def test_refusals_count_for_a_minute() -> None:
    budget = RefusalBudget(per_minute=10)
    budget.spend(0.0, 4)
    budget.spend(30.0, 5)
    assert [budget.left(now) for now in (30.0, 59.9, 60.0, 90.0)] == [1, 1, 5, 10]
    budget.spend(90.0, 50)
    assert budget.left(90.0) == 0
