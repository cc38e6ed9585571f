"""Another number of shards on the same data folder, with readings that only the journals of the former one have."""

from hseie.embedded.server import EmbeddedPostgres
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, meter, now_text, prove_nothing_lost
from tests.system.node import Node

DEVICES = 12  # more than enough for each shard to have some


def take(node: Node, ledger: Ledger, readings: list[Reading]) -> None:
    """Send them one by one; each is new, and gets the receipt of the journal."""
    for reading in readings:
        answer = node.post("meter", reading)
        assert (answer.status, answer.body.get("duplicate")) == (202, None), answer
    ledger.note("meter", readings)


def know(node: Node, ledger: Ledger, readings: list[Reading]) -> None:
    """Send them again, as one batch; all are known."""
    answer = node.post("meter", readings)
    assert (answer.status, answer.body["duplicates"]) == (202, len(readings)), answer
    ledger.note("meter", readings)


def wave(number: int) -> list[Reading]:
    """A reading of each device, a late one of each, and a correction of the first."""
    time = now_text(60 - number)
    new = [meter(f"D-{device}", number, time=time) for device in range(DEVICES)]
    late = [meter(f"D-{device}", number, time=now_text(3600 - number)) for device in range(DEVICES)]
    corrected = [reading | {"voltage": 231.5} for reading in new]
    return new + late + corrected


def test_two_three_and_one_shards(stage: Stage, own_server: EmbeddedPostgres) -> None:
    node = stage.node(DATABASE_URL=own_server.start())
    ledger = Ledger()
    sent: list[Reading] = []
    waves = iter(range(1, 10))
    for shards in (2, 3, 1):
        node.start(HSEIE_WRITER__SHARDS=str(shards))
        assert sum(name.startswith("writer-") for name in node.children()) == shards
        if sent:
            know(node, ledger, sent)
        committed = wave(next(waves))
        take(node, ledger, committed)
        prove_nothing_lost(node, ledger, shards)
        own_server.stop()
        unflushed = wave(next(waves))
        take(node, ledger, unflushed)
        know(node, ledger, unflushed[:DEVICES])  # before their correction; that is not undone
        sent += committed + unflushed
        node.kill_supervisor()
        own_server.start()
    # Back to where it began, while the first journals still lie there.
    node.start(HSEIE_WRITER__SHARDS="2")
    know(node, ledger, sent)
    take(node, ledger, wave(next(waves)))
    stored = prove_nothing_lost(node, ledger)
    newest = {key[1]: key for key in stored.current.values() if key[1].startswith("D-")}
    assert len(newest) == DEVICES
    assert {key[3] for key in newest.values()} == {(7_0000, 231_50)}
