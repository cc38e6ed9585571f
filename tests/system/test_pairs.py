"""Pairings as an operator sets them: by curl through the acceptors, by the command line, over restarts and kills."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.system.conftest import Stage
from tests.system.curl import curl, needs_curl
from tests.system.ledger import meter
from tests.system.node import Node, eventually
from tests.system.test_dead_letters import vehicle

CAR, POINT = "VEHICLE_7", "POINT-1"
OVERLAPS = """
SELECT one.vehicle_id, one.meter_id, other.vehicle_id, other.meter_id
FROM device_pair AS one JOIN device_pair AS other
ON one.ctid < other.ctid AND (one.vehicle_id = other.vehicle_id OR one.meter_id = other.meter_id)
AND tstzrange(one.valid_from, one.valid_to) && tstzrange(other.valid_from, other.valid_to)
"""


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat().replace("+00:00", "Z")


def pairs(node: Node, query: str = "state=all") -> Any:
    return node.get(f"/v1/pairs?{query}").body["pairs"]


@needs_curl
def test_pairs_are_set_by_curl_and_by_command_and_stay(stage: Stage, new_database: Callable[[], str]) -> None:
    node = stage.node(DATABASE_URL=new_database()).start()
    for reading in (meter(POINT, 2.0), meter("METER_7", 5.0)):
        assert node.post("meter", reading, Prefer="wait").status == 201
    assert node.post("vehicle", vehicle(CAR, 20.0), Prefer="wait").status == 201
    url = f"{node.url}/v1/pairs/{CAR}"
    answer = curl(url, "--request", "PUT", body={"meterId": POINT, "validFrom": ago(days=3)})
    assert (answer.status, answer.body["changed"]) == (200, True), answer
    answer = node.call("PUT", f"/v1/pairs/{CAR}", {"meterId": POINT}, {"Expect": "100-continue"})
    assert (answer.status, answer.body["changed"]) == (200, False), answer
    seen = curl(f"{node.url}/v1/analytics/performance/{CAR}").body
    assert (seen["meterId"], seen["totalEnergyConsumedAc"], seen["totalEnergyDeliveredDc"]) == (POINT, 2.0, 1.0)

    # On the acceptors' port and on that of analytics, as an operator's file, and after a restart: the same rows.
    beside = curl(f"http://127.0.0.1:{node.port + 1}/v1/pairs?state=all")
    assert beside.body["pairs"] == pairs(node)
    exported = node.command("pairs", "export")
    assert exported.returncode == 0, exported.stderr
    assert [line.split(",")[:2] for line in exported.stdout.splitlines()] == [["vehicleId", "meterId"], [CAR, POINT]]
    before = pairs(node)
    node.stop()
    node.start()
    assert pairs(node) == before

    file = node.folder / "pairs.csv"
    file.write_text("vehicleId,meterId,validFrom\nVEHICLE_8,POINT-2,\nVEHICLE_9,,\nVEHICLE_9,X,never\n")
    done = node.command("pairs", "import", str(file))
    assert (done.returncode, "line 4: validFrom: " in done.stderr, pairs(node) == before) == (1, True, True), done
    file.write_text(file.read_text().rpartition("VEHICLE_9")[0])
    done = node.command("pairs", "import", str(file))
    assert (done.returncode, done.stdout) == (0, "2 pairings set, 0 were so already.\n"), done
    assert len(pairs(node, "state=current")) == 3

    answer = curl(url, "--request", "DELETE")
    assert (answer.status, answer.body["ended"][0]["meterId"]) == (200, POINT), answer
    assert curl(url, "--request", "DELETE").status == 404
    # What has ended is not changed by whatever is asked for.
    refused = curl(url, "--request", "PUT", body={"meterId": "POINT-3", "validFrom": ago(days=1)})
    assert (refused.status, refused.body["code"]) == (409, "pair_conflict")
    node.stop()


def test_what_was_answered_stands_whatever_is_killed(stage: Stage, new_database: Callable[[], str]) -> None:
    """Two change the same pairings through the acceptors while analytics dies: a change is whole, or was none."""
    node = stage.node(DATABASE_URL=new_database()).start()
    answered: list[tuple[str, str]] = []  # start and vehicle of what was set
    trouble: list[Any] = []
    ended = threading.Event()

    def change(name: str) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            car, point = f"CAR-{number % 2}", f"{name}-{number % 3}" if number % 2 else "SHARED"
            answer = node.call("PUT", f"/v1/pairs/{car}", {"meterId": point})
            if answer.status == 200:
                answered.append((answer.body["pair"]["validFrom"], car))
            elif answer.status != 503 or "Retry-After" not in answer.headers:
                trouble.append(answer)

    threads = [threading.Thread(target=change, args=(name,)) for name in ("A", "B")]
    for thread in threads:
        thread.start()
    for _ in range(2):
        seen = len(answered)
        eventually(lambda seen=seen: len(answered) > seen + 20, "changes are made")  # type: ignore[misc]
        node.until_back("analytics", node.kill("analytics"))
    ended.set()
    for thread in threads:
        thread.join()
    assert trouble == []
    rows = {(pair["validFrom"], pair["vehicleId"]) for pair in pairs(node, "state=all&limit=10000")}
    assert set(answered) <= rows
    # At most the two that were under way at each kill were done without an answer.
    assert len(rows - set(answered)) <= 4
    assert node.sql(OVERLAPS) == []
    node.stop()
