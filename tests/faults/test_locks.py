"""Others hold the locks that a flush needs: it steps back and tries again, and the journals grow meanwhile."""

import time
from collections.abc import Callable

import pytest

from tests.faults.scene import LONG, Scene
from tests.system.conftest import Stage
from tests.system.ledger import device_of, meter
from tests.system.node import eventually

SETTINGS = {"HSEIE_POSTGRES__LOCK_TIMEOUT_MS": "600"}
DEADLOCK_AFTER = "400ms"  # below our lock_timeout: it is PostgreSQL that ends the embrace
WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
WRITERS_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^hseie writer'"


@pytest.fixture(scope="module")
def scene(module_stage: Stage, new_database: Callable[[], str]) -> Scene:
    return Scene(module_stage, module_stage.node(DATABASE_URL=new_database(), **SETTINGS).start())


def set_default(scene: Scene, setting: str) -> None:
    """For the writers' next connections, which they need at once."""
    name = scene.dsn.rpartition("/")[2]
    scene.sql(f'ALTER DATABASE "{name}" {setting}')
    scene.sql(WRITERS_CUT)
    scene.until_flushed()


@LONG
def test_a_history_table_locked_for_long(scene: Scene, minutes: float) -> None:
    stopped = len(scene.said("flushing_stopped")), len(scene.said("database_away"))
    with scene.load() as fleet, scene.somebody() as other:
        other.execute("LOCK TABLE meter_history IN ACCESS EXCLUSIVE MODE")
        until = time.monotonic() + (60 if minutes else 6)
        scene.until_database("locked", patience_s=50)
        waiting = [scene.waiting()]
        while time.monotonic() < until or len(waiting) < 3:
            assert scene.probe(0).status == scene.probe(1).status == 202
            time.sleep(1)
            waiting.append(scene.waiting())
        print("in the journals:", waiting)
        assert waiting == sorted(waiting)
        assert waiting[-1] > waiting[0]
        other.commit()
        scene.until_flushed()
    assert set(fleet.statuses) <= {"202", "400"}
    assert (len(scene.said("flushing_stopped")), len(scene.said("database_away"))) == stopped
    scene.prove()


def test_a_deadlock_on_a_current_table(scene: Scene) -> None:
    first, second = sorted((device_of(0, 2, "a"), device_of(0, 2, "b")))
    lock = "SELECT voltage FROM meter_current WHERE meter_id = $1 FOR UPDATE"
    set_default(scene, f"SET deadlock_timeout = '{DEADLOCK_AFTER}'")
    known = scene.sql(DEADLOCKS)[0][0]

    def embrace() -> bool:
        batch = [meter(first), meter(second)]
        scene.note(batch, scene.node.post("meter", batch, Prefer="wait"))
        with scene.somebody() as other:
            other.execute("SET LOCAL deadlock_timeout = '60s'")  # the flush is the one that finds out, and gives way
            other.execute(lock, second)
            batch = [meter(first), meter(second)]
            scene.note(batch, scene.node.post("meter", batch))
            eventually(lambda: other.execute(WAITS), "the flush has the first and waits for the second")
            other.execute(lock, first)
            other.commit()
        time.sleep(1)  # figures come late
        return bool(scene.sql(DEADLOCKS)[0][0] > known)

    eventually(embrace, "two transactions waited for each other")  # on a busy machine we may come too late
    scene.until_flushed()
    assert scene.said("flushing_stopped") == []
    scene.prove()


def test_a_flush_that_cannot_be_serialized(scene: Scene) -> None:
    device = device_of(0, 2, "serial")
    set_default(scene, "SET default_transaction_isolation = 'repeatable read'")
    before = meter(device)
    scene.note([before], scene.node.post("meter", before, Prefer="wait"))
    with scene.somebody() as other:
        other.execute("UPDATE meter_current SET updated_at = now() WHERE meter_id = $1", device)
        later = meter(device)
        scene.note([later], scene.node.post("meter", later))
        eventually(lambda: other.execute(WAITS), "the flush waits for the row")
        other.commit()  # which the flush has seen in another version
    scene.until_flushed()
    assert scene.said("flushing_stopped") == []
    scene.prove()
    set_default(scene, "RESET default_transaction_isolation")
