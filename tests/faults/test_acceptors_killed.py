"""kill -9 of an acceptor at four places in the way of a request."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tests.faults.conftest import faults_at, log_of, until_fired, until_restarted
from tests.faults.pulse import Pulse
from tests.system.conftest import Stage
from tests.system.ledger import Ledger, prove_nothing_lost

# Each life counts its requests anew, so they happen one after the other.
FAULTS = [
    "acceptor-0/acceptor.body_read:kill@3",
    "acceptor-0/acceptor.frame_sent:kill@3",
    "acceptor-0/acceptor.acked:kill@3",
    "acceptor-0/acceptor.before_answer:kill@3",
]
DELAY_MS = "1000"  # so that the other one is alone for a while


def test_an_acceptor_killed_on_the_way_of_a_request(stage: Stage, marks: Path, new_database: Callable[[], str]) -> None:
    node = stage.node(
        DATABASE_URL=new_database(),
        HSEIE_SUPERVISOR__RESTART_DELAY_MS=DELAY_MS,
        HSEIE_SUPERVISOR__RESTART_DELAY_MAX_MS=DELAY_MS,
        **faults_at(marks, *FAULTS),
    ).start()
    load = stage.load(node, attempts=100)
    # A fleet keeps its connections, which are all the other's after the first kill; a pulse always makes new ones.
    with Pulse(node, 0, "even", every_s=0.01) as even, Pulse(node, 1, "odd", every_s=0.01) as odd:
        fired = until_fired(marks, FAULTS)
        until_restarted(node, "acceptor-0", len(FAULTS))
    summary = load.stop()
    print("the pulses:", even.summary(), odd.summary())
    # No answer but the usual ones: whose connection broke was served when he came again.
    assert set(summary["statuses"]) <= {"202", "400"}
    assert even.codes | odd.codes == {""}
    assert summary["retried"] + even.broken + odd.broken >= len(FAULTS)
    # The other acceptor has served while this one was away.
    started = log_of(node, "process_started", name="acceptor-0")
    lives = [datetime.fromisoformat(line["ts"]).timestamp() for line in started]
    for mark in fired:
        died = mark.stat().st_mtime
        back = min(life for life in lives if life > died)
        assert even.taken_between(died, back) + odd.taken_between(died, back) > 0, mark.name
    restarts = {name: row["restarts"] for name, row in node.processes().items()}
    assert restarts == dict.fromkeys(restarts, 0) | {"acceptor-0": len(FAULTS)}
    prove_nothing_lost(node, odd.note(even.note(Ledger().read(load.ledger_file))))
