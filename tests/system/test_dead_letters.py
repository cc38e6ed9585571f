"""Readings that the wire takes and PostgreSQL does not."""

from collections.abc import Callable

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, key_of, meter, now_text, prove_nothing_lost


def test_a_refused_row_is_parked_and_costs_nobody_anything(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    ledger = Ledger()
    node.sql("ALTER TABLE meter_history ADD CONSTRAINT system_test CHECK (voltage < 400)")
    good = [meter(f"G-{number}", number) for number in range(500)]
    bad = meter("G-7", 7.5, volts=450.0)
    batch = [*good[:250], bad, *good[250:]]
    answer = node.post("meter", batch, Prefer="wait")
    assert (answer.status, answer.body["accepted"]) == (201, 501), answer
    ledger.note("meter", batch)
    assert prove_nothing_lost(node, ledger).dead == {key_of("meter", bad): 1}
    assert node.sql("SELECT sqlstate, reason ~ 'system_test' FROM dead_letter") == [("23514", True)]
    # What was parked was the newest of its device that was ever received; its current state goes on without it.
    newest = bad | {"timestamp": now_text(-60)}
    assert node.post("meter", newest, Prefer="wait").status == 201
    later = [meter("G-7", 8.0), *(meter(f"G-{number}", 1.0) for number in range(8, 30))]
    assert node.post("meter", later, Prefer="wait").status == 201
    ledger.note("meter", [newest, *later])
    assert prove_nothing_lost(node, ledger).dead.total() == 2
