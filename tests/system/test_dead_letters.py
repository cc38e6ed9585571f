"""Readings that the wire takes and PostgreSQL does not."""

import json
from collections.abc import Callable

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, key_of, meter, now_text, prove_nothing_lost


def vehicle(device: str, degrees: float) -> Reading:
    values = {"soc": 50.0, "kwhDeliveredDc": 1.0, "batteryTemp": degrees}
    return {"vehicleId": device, "timestamp": now_text(), **values}


def test_a_refused_row_is_parked_and_costs_nobody_anything(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    ledger = Ledger()
    node.sql("ALTER TABLE meter_history ADD CONSTRAINT system_test CHECK (voltage < 400)")
    good = [meter(f"G-{number}", number) for number in range(500)]
    bad = meter("G-7", 7.5, volts=450.0)
    batch = [*good[:250], bad, *good[250:]]
    answer = node.post("meter", batch, Prefer="wait")
    assert (answer.status, answer.body["accepted"], answer.body["deadLettered"]) == (202, 501, 1), answer
    ledger.note("meter", batch)
    assert prove_nothing_lost(node, ledger).dead == {key_of("meter", bad): 1}
    assert node.sql("SELECT sqlstate, reason ~ 'system_test' FROM dead_letter") == [("23514", True)]
    # What was parked was the newest of its device that was ever received; its current state goes on without it.
    newest = bad | {"timestamp": now_text(-60)}
    answer = node.post("meter", newest, Prefer="wait")
    assert (answer.status, answer.body["mode"], answer.body["deadLettered"]) == (202, "queued", 1)
    assert answer.headers["Preference-Applied"] == "wait"
    later = [meter("G-7", 8.0), *(meter(f"G-{number}", 1.0) for number in range(8, 30))]
    assert node.post("meter", later, Prefer="wait").status == 201
    ledger.note("meter", [newest, *later])
    assert prove_nothing_lost(node, ledger).dead.total() == 2
    # Once what refused them is gone they are stored after all, while the node runs.
    assert json.loads(node.command("dead-letter", "retry", "--all", "--json").stdout)["stored"] == []
    node.sql("ALTER TABLE meter_history DROP CONSTRAINT system_test")
    done = node.command("dead-letter", "retry", "--all")
    assert (done.returncode, done.stdout) == (0, "2 stored, 0 stay dead letters.\n"), done
    stored = prove_nothing_lost(node, ledger)
    assert stored.dead.total() == 0
    assert stored.current["meter", "G-7"] == key_of("meter", newest)


def test_a_row_that_only_the_current_state_refuses(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    ledger = Ledger()
    node.sql("ALTER TABLE vehicle_current ADD CONSTRAINT system_test CHECK (battery_temp < 70)")
    hot = vehicle("C-1", 71.0)
    batch = [vehicle("C-0", 20.0), hot, vehicle("C-2", 20.0)]
    answer = node.post("vehicle", batch, Prefer="wait")
    assert (answer.status, answer.body["deadLettered"]) == (202, 1), answer
    ledger.note("vehicle", batch)
    assert prove_nothing_lost(node, ledger).dead == {key_of("vehicle", hot): 1}
    assert node.command("dead-letter", "drop", "--all", "--yes").returncode == 0
    assert node.audit()["kinds"]["vehicle"]["dropped"] == 1
