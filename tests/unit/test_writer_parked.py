"""Which lines of which frames the parked lines of a batch were."""

from hseie.writer.journal import Entry
from hseie.writer.parked import locate


def test_places_of_a_batch_become_lines_of_frames() -> None:
    entries = [
        (5, Entry(b"", {0: 3}, {0: [0]})),  # two lines in the batch: its second and third
        (6, Entry(b"", {1: 2}, {})),
        (7, Entry(b"", {0: 2, 1: 3}, {1: [1]})),
        (8, Entry(b"", {0: 1}, {0: [0]})),
    ]
    everything = [[0, 1, 2, 3], [0, 1, 2, 3]]
    passed = [0, 0]
    assert locate(entries, everything, passed) == {5: {0: [1, 2]}, 6: {1: [0, 1]}, 7: {0: [0, 1], 1: [0, 2]}}
    assert passed == [4, 4]
    assert locate(entries, [[2], []], [0, 0]) == {7: {0: [0]}}
    assert locate(entries[2:], [[3], [2]], [2, 2]) == {7: {0: [1], 1: [0]}}
    assert locate(entries, [[], []], [0, 0]) == {}
