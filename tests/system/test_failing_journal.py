"""A journal that cannot be written: nobody is promised anything, and the writer comes back on a fresh handle."""

import resource
from collections.abc import Callable

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, device_of, meter, now_text, prove_nothing_lost

STORAGE = 74
ROOM_BYTES = 200_000  # for about three thousand readings


def test_no_acknowledgement_without_the_journal(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    ledger = Ledger()
    device = device_of(0, 2, "full")
    pid = node.children()["writer-0"]
    largest = max(file.stat().st_size for file in (node.data / "journal").iterdir())
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + ROOM_BYTES, hard))  # as a disk that is full there
    refused = 0
    for number in range(20):
        batch = [meter(device, number * 500 + i, time=now_text(i)) for i in range(500)]
        answer = node.post("meter", batch)
        if answer.status == 503:
            refused += 1
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            answer, _ = node.deliver("meter", batch)
        assert answer.status == 202, answer
        ledger.note("meter", batch)
    assert refused > 0
    node.until_back("writer-0", pid)
    assert node.processes()["writer-0"]["last_exit"]["code"] == STORAGE
    # What had been acknowledged before is there too: nothing was lost with the handle.
    assert prove_nothing_lost(node, ledger).history.total() == 20 * 500 + 2
