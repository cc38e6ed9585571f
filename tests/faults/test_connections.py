"""The way between the writers and PostgreSQL is cut, slow or silent, at the worst moments."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.proxy import Cut, Proxy
from tests.faults.scene import Scene
from tests.system.conftest import Stage
from tests.system.node import eventually

SETTINGS = {
    "HSEIE_POSTGRES__FLUSH_TIMEOUT_MS": "1600",
    "HSEIE_POSTGRES__CONNECT_TIMEOUT_MS": "1000",
    "HSEIE_POSTGRES__LOCK_TIMEOUT_MS": "500",
}


@pytest.fixture(scope="module")
def proxy(new_database: Callable[[], str]) -> Iterator[Proxy]:
    proxy = Proxy(new_database())
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def scene(module_stage: Stage, proxy: Proxy) -> Scene:
    return Scene(module_stage, module_stage.node(DATABASE_URL=proxy.url, **SETTINGS).start())


@pytest.fixture(autouse=True)
def _healed(proxy: Proxy) -> Iterator[None]:
    yield
    proxy.silent, proxy.delay_s = False, 0.0


@pytest.mark.parametrize("how", ["lost", "lost in silence", "answer lost", "answer in silence", "late"])
def test_a_commit_whose_outcome_is_unknown(scene: Scene, proxy: Proxy, how: Cut) -> None:
    with scene.load(interval_ms=200) as fleet:
        for _ in range(2):
            cut = proxy.commits_cut
            proxy.cut_next_commit(how)
            eventually(lambda cut=cut: proxy.commits_cut > cut, "a commit was cut in two")
            scene.until_flushed()
    assert set(fleet.statuses) <= {"202", "400"}
    scene.prove()


def test_silence_in_the_middle_of_flushes(scene: Scene, proxy: Proxy) -> None:
    with scene.load(interval_ms=200) as fleet:
        time.sleep(1)
        proxy.silent = True
        scene.until_database("away")
        assert scene.probe(0).status == scene.probe(1).status == 202
        assert scene.node.get("/livez").status == 200
        proxy.silent = False
        scene.until_flushed()
    assert set(fleet.statuses) <= {"202", "400"}
    scene.prove()


def test_slow_ways_and_resets(scene: Scene, proxy: Proxy) -> None:
    with scene.load(interval_ms=200) as fleet:
        proxy.delay_s = 0.03
        for _ in range(6):
            time.sleep(0.35)
            proxy.reset_all()
        proxy.delay_s = 0.0
        scene.until_flushed()
    assert set(fleet.statuses) <= {"202", "400"}
    scene.prove()


def test_idle_connections_that_a_firewall_has_forgotten(scene: Scene, proxy: Proxy) -> None:
    eventually(lambda: scene.waiting() == 0, "nothing is under way")
    assert proxy.forget_all() >= 2
    for shard in (0, 1):
        answer = scene.probe(shard, Prefer="wait")
        assert answer.status == 201, answer  # later than usual: what was given up is sent on a new connection
    scene.prove()
