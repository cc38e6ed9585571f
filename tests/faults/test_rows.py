"""Rows that PostgreSQL refuses, and tables that are not what they should be."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.scene import ORDERLY, Outcome, Scene
from tests.system.conftest import Stage
from tests.system.ledger import device_of, key_of, meter, now_text
from tests.system.node import eventually

DEAD_LETTERS_MAX = 200
REFUSED = "SELECT count(*) FROM dead_letter"
ATTEMPTS = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture(scope="module")
def scene(module_stage: Stage, new_database: Callable[[], str]) -> Scene:
    limit = {"HSEIE_WRITER__DEAD_LETTERS_MAX": str(DEAD_LETTERS_MAX)}
    return Scene(module_stage, module_stage.node(DATABASE_URL=new_database(), **limit).start())


@contextmanager
def flushing_stopped(scene: Scene, state: str, problem: str) -> Iterator[Outcome]:
    """Under load, a mistake in the schema was made: flushing stops with an alert, journaling goes on.

    The test corrects the mistake; after that everything arrives by itself, in order.
    """
    # Enough for a shard to see that it is not for what single rows hold.
    with scene.load(devices=200, interval_ms=800, **ORDERLY) as fleet:
        scene.until_database(state)
        assert any(problem in found["text"] for found in scene.node.status()["problems"])
        parked, waiting = scene.sql(REFUSED)[0][0], scene.waiting()
        time.sleep(2)
        assert scene.probe(0).status == scene.probe(1).status == 202
        assert scene.waiting() > waiting
        assert scene.sql(REFUSED)[0][0] == parked <= 2 * DEAD_LETTERS_MAX
        print(f"{parked} rows were parked before it was noticed")
        yield fleet
        scene.until_flushed()
        scene.until_database("ok")
    assert set(fleet.statuses) == {"202"}
    assert scene.said("flushing_stopped")
    scene.prove()
    assert [scene.out_of_order(kind) for kind in ("meter", "vehicle")] == [0, 0]


def test_a_column_that_was_dropped_and_one_that_was_renamed(scene: Scene) -> None:
    # Before there is any row that would lose something with it.
    scene.sql("ALTER TABLE vehicle_history DROP COLUMN battery_temp")
    scene.sql("ALTER TABLE meter_history RENAME COLUMN voltage TO volts")
    with flushing_stopped(scene, "schema", "tables are missing or not as expected"):
        attempts = scene.sql(ATTEMPTS)
        scene.sql("ALTER TABLE meter_history RENAME COLUMN volts TO voltage")
        eventually(lambda: scene.sql(ATTEMPTS) != attempts, "the writers have tried again")
        assert scene.sql("SELECT count(*) FROM vehicle_history") == [(0,)]  # one mistake is left
        scene.sql("ALTER TABLE vehicle_history ADD COLUMN battery_temp decimal(5, 2) NOT NULL")
    assert scene.sql(REFUSED) == [(0,)]


def test_a_migration_after_which_every_row_is_refused(scene: Scene) -> None:
    scene.sql("ALTER TABLE meter_history ADD CONSTRAINT wrong CHECK (voltage < 0) NOT VALID")
    with flushing_stopped(scene, "refusing", "refuses too many rows"):
        scene.sql("ALTER TABLE meter_history DROP CONSTRAINT wrong")


def test_one_refused_row_among_five_thousand(scene: Scene, seed: int) -> None:
    device = device_of(0, 2, "five-thousand")
    batch = [meter(device, number, time=now_text(number / 10)) for number in range(5_000)]
    bad = batch[random.Random(seed).randrange(5_000)]
    bad["voltage"] = 450.0
    parked = scene.sql(REFUSED)[0][0]
    scene.sql("ALTER TABLE meter_history ADD CONSTRAINT high CHECK (voltage < 400) NOT VALID")
    with scene.load() as fleet:
        answer = scene.node.post("meter", batch, Prefer="wait")
        assert (answer.status, answer.body["accepted"], answer.body["deadLettered"]) == (202, 5_000, 1), answer
        scene.note(batch, answer)
    assert set(fleet.statuses) <= {"202", "400"}
    stored = scene.prove()
    assert sum(key[1] == device for key in stored.history.elements()) == 4_999
    assert [key for key in stored.dead if key[1] == device] == [key_of("meter", bad)]
    assert scene.sql(REFUSED) == [(parked + 1,)]
