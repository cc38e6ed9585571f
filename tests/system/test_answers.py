"""What a device, and who looks at it, gets from a node: in both ways of acknowledging."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.system.conftest import Stage
from tests.system.ledger import Ledger, Reading, meter, now_text, prove_nothing_lost
from tests.system.node import Node


class Desk:
    """A node and the ledger of what the tests of this file send to it. `taken` is its usual answer to a reading."""

    def __init__(self, node: Node, ack: str) -> None:
        self.node = node
        self.ack = ack
        self.ledger = Ledger()
        self.taken = (202, "queued") if ack == "journal" else (201, "direct")

    def send(self, reading: Reading, *, duplicate: bool = False, **headers: str) -> dict[str, Any]:
        """Send a good reading, which has to be taken, and known only if it is a `duplicate`."""
        kind = "meter" if "meterId" in reading else "vehicle"
        answer, retried = self.node.deliver(kind, reading, **headers)
        wanted = (201, "direct") if headers.get("Prefer") == "wait" else self.taken
        assert (answer.status, answer.body.get("mode")) == wanted, answer
        assert retried or answer.body.get("duplicate", False) is duplicate, answer
        self.ledger.note(kind, [reading])
        body: dict[str, Any] = answer.body
        return body

    def rows(self, device: str) -> list[tuple[float, float]]:
        """What history has of a meter, in the order of arrival."""
        found = self.node.sql(
            "SELECT kwh_consumed_ac, voltage FROM meter_history WHERE meter_id = $1 ORDER BY id", device
        )
        return [(float(amount), float(volts)) for amount, volts in found]

    def current(self, device: str) -> float:
        amount: float = self.node.get(f"/v1/ingest/meter/{device}/current").body["kwhConsumedAc"]
        return amount


@pytest.fixture(scope="module", params=["journal", "commit"])
def desk(request: pytest.FixtureRequest, module_stage: Stage, new_database: Callable[[], str]) -> Iterator[Desk]:
    ack = str(request.param)
    # Flushes are far apart, so that a wait that does not hasten them, or does not wait, shows.
    environ = {"DATABASE_URL": new_database(), "HSEIE_INGEST__ACK": ack, "HSEIE_WRITER__FLUSH_INTERVAL_MS": "2000"}
    desk = Desk(module_stage.node(ack, **environ).start(), ack)
    yield desk
    prove_nothing_lost(desk.node, desk.ledger)
    desk.node.stop()


def test_an_exact_resend_is_stored_once(desk: Desk) -> None:
    reading = meter("R-1", 1.5)
    first = desk.send(reading)
    assert desk.send(reading, duplicate=True)["timestamp"] == first["timestamp"]
    # The same values and the same moment, written otherwise.
    same = reading | {"voltage": 230, "timestamp": reading["timestamp"].replace("Z", "+00:00")}
    desk.send(same, duplicate=True, Prefer="wait")
    assert desk.rows("R-1") == [(1.5, 230.0)]


def test_a_correction_makes_a_row_and_wins_and_no_resend_undoes_it(desk: Desk) -> None:
    reading = meter("C-1", 1.0)
    correction = reading | {"kwhConsumedAc": 2.0}
    desk.send(reading)
    desk.send(correction)
    desk.send(reading, duplicate=True)
    desk.send(correction, duplicate=True, Prefer="wait")
    assert desk.rows("C-1") == [(1.0, 230.0), (2.0, 230.0)]
    assert desk.current("C-1") == 2.0
    # The same when the correction comes after the reading was committed.
    desk.send(reading | {"kwhConsumedAc": 3.0}, Prefer="wait")
    desk.send(reading, duplicate=True, Prefer="wait")
    assert desk.current("C-1") == 3.0


def test_a_late_reading_never_becomes_the_current_state(desk: Desk) -> None:
    desk.send(meter("L-1", 5.0), Prefer="wait")
    desk.send(meter("L-1", 4.0, time=now_text(600)), Prefer="wait")
    assert desk.current("L-1") == 5.0
    assert len(desk.rows("L-1")) == 2
    # In one flush, the late one last.
    later, late = meter("L-2", 7.0), meter("L-2", 6.0, time=now_text(3600))
    answer = desk.node.post("meter", [later, late], Prefer="wait")
    assert (answer.status, answer.body["accepted"]) == (201, 2)
    desk.ledger.note("meter", [later, late])
    assert desk.current("L-2") == 7.0


def test_a_resend_is_known_after_the_writers_were_killed(desk: Desk) -> None:
    reading = meter("K-1", 1.0)
    late = meter("K-1", 9.0, time=now_text(100))
    desk.send(reading)
    desk.send(late)
    for name in ("writer-0", "writer-1"):
        desk.node.until_back(name, desk.node.kill(name))
    prove_nothing_lost(desk.node, desk.ledger)
    desk.send(reading, duplicate=True)
    desk.send(late, duplicate=True, Prefer="wait")
    assert sorted(desk.rows("K-1")) == [(1.0, 230.0), (9.0, 230.0)]
    # The map of newest states died with the writer; the tables have to keep the late one out.
    desk.send(meter("K-1", 8.0, time=now_text(50)), Prefer="wait")
    assert desk.current("K-1") == 1.0


def test_prefer_wait_and_respond_async(desk: Desk) -> None:
    reading = meter("P-1", 1.25)
    answer = desk.node.post("meter", reading, Prefer="wait")
    assert (answer.status, answer.body["mode"]) == (201, "direct")
    assert answer.headers["Preference-Applied"] == "wait"
    assert desk.rows("P-1") == [(1.25, 230.0)]
    assert desk.node.get(f"/v1/ingest/jobs/{answer.body['jobId']}").body["state"] == "stored"
    desk.ledger.note("meter", [reading])
    reading = meter("P-2", 1.25)
    answer = desk.node.post("meter", reading, Prefer="respond-async")
    assert (answer.status, answer.body["mode"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "respond-async"
    desk.ledger.note("meter", [reading])


def test_one_bad_reading_never_costs_a_good_one(desk: Desk) -> None:
    good = [meter(f"B-{number}") for number in range(3)]
    bad = [
        good[0] | {"voltage": 501},
        good[0] | {"kwhConsumedAc": "1"},
        good[0] | {"timestamp": "2026-02-09T12:00:00"},
        good[0] | {"surplus": 1},
    ]
    batch = [good[0], bad[0], good[1], bad[1], bad[2], good[2], bad[3], good[0]]
    answer = desk.node.post("meter", batch)
    counts = [answer.body[name] for name in ("accepted", "duplicates", "rejected", "mode")]
    assert (answer.status, counts) == (207, [3, 1, 4, desk.taken[1]]), answer
    places = [(error["index"], error["pointer"]) for error in answer.body["errors"]]
    assert places == [(1, "/voltage"), (3, "/kwhConsumedAc"), (4, "/timestamp"), (6, "/surplus")]
    desk.ledger.note("meter", [*good, good[0]])

    refused = desk.node.post("meter", bad)
    assert (refused.status, refused.body["rejected"]) == (400, 4), refused
    assert refused.headers["Content-Type"].startswith("application/problem+json")
    assert len(refused.body["errors"]) == 4
    assert desk.node.post("meter", bad[0]).status == 400
    assert desk.node.post("meter", b"{").status == 400


def test_the_examples_of_the_first_hseie_and_the_golden_case(desk: Desk) -> None:
    node = desk.node
    example = {"meterId": "METER_001", "kwhConsumedAc": 10.5, "voltage": 230, "timestamp": "2026-02-09T12:00:00Z"}
    answer = desk.send(example)
    assert (answer["success"], answer["meterId"], answer["timestamp"]) == (
        True,
        "METER_001",
        "2026-02-09T12:00:00.000Z",
    )
    assert answer["jobId"]
    start = datetime.now(UTC).timestamp()
    for minutes, ac, dc, celsius in ((60, 10.5, 9.5, 28.0), (30, 11.2, 9.5, 28.3), (0, 10.5, 9.5, 28.5)):
        ago = datetime.now(UTC).timestamp() - start + minutes * 60
        time = now_text(ago)
        desk.send(meter("METER_001", ac, time=time))
        vehicle = {"vehicleId": "VEHICLE_001", "soc": 75.5, "kwhDeliveredDc": dc, "batteryTemp": celsius}
        desk.send(vehicle | {"timestamp": time}, Prefer="wait")
    prove_nothing_lost(node, desk.ledger)  # the meter's are committed too
    performance = node.get("/v1/analytics/performance/VEHICLE_001")
    names = ("period", "totalEnergyConsumedAc", "totalEnergyDeliveredDc", "efficiencyRatio", "avgBatteryTemp")
    assert performance.status == 200
    assert [performance.body[name] for name in names] == ["24h", 32.2, 28.5, 88.51, 28.27]
    current = node.get("/v1/ingest/vehicle/VEHICLE_001/current")
    assert (current.status, current.body["soc"], current.body["batteryTemp"]) == (200, 75.5, 28.5)
    assert node.get("/v1/ingest/meter/NOBODY/current").status == 404
    assert {"status", "timestamp", "service", "version"} <= set(node.get("/health").body)
    stats = node.get("/v1/ingest/queue/stats").body
    assert set(stats["meterQueue"]) == set(stats["vehicleQueue"]) == {"waiting", "active", "completed", "failed"}
    assert {"totalVehicles", "avgSoc"} <= set(node.get("/v1/analytics/stats").body)
