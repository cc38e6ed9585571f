"""Who is let in: every way to show a key, every reason to be turned away, and that no answer gives a key away."""

import asyncio
from dataclasses import replace
from typing import Any, cast
from unittest.mock import Mock, call

import msgspec
import orjson
import pytest
from multidict import CIMultiDict

from hseie.access import ALL_DEVICES, NOT_ALLOWED, OVER_QUOTA, Devices, Key, Scope
from hseie.admission import KEY_LIMITS, Doorman, Visitor, key_figures, presented_keys, watch
from hseie.config import Auth, Config, Http, Tls
from hseie.errors import ConfigError, KeysFileError
from hseie.key_text import key_text
from hseie.keys import DeviceRegistry, KeyRing
from hseie.node import who_is_let_in
from hseie.ports import is_loopback
from hseie.problems import ProblemAnswer
from hseie.rates import Rates

NOW = 1_795_000_000.0
GOOD = "hseie_abc_thegoodone"
BEARER = {"Authorization": f"Bearer {GOOD}"}


def key(**more: Any) -> Key:
    usual = Key("abc", "tests", b"", frozenset({"ingest"}), ALL_DEVICES, 0.0, 0, 0, 1, NOW - 1)
    return replace(usual, **more)


class Ring:
    """Knows one key."""

    def __init__(self, known: Key, problem: str = "") -> None:
        self.known, self.problem = known, problem

        self.keys = 1
        self.refreshed_at = 1.0
        self.new: set[str] = set()  # known after the next look at the file
        self.looks = 0
        self._others: set[str] = set()

    def find(self, presented: str) -> Key | None:
        return self.known if presented in {GOOD, *self._others} else None

    def doubt(self, presented: str) -> str:
        return self.problem

    def refresh(self) -> bool:
        self.looks += 1
        self._others |= self.new
        return True


class Registry:
    """Admits as many devices as it is told to."""

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.generation = 0
        self.asked: list[list[str]] = []
        self.broken = False

    def admit(self, key: Key, devices: Any) -> set[str]:
        self.asked.append(list(devices))
        if self.broken:
            raise KeysFileError("locked")
        for device in devices:
            if len(self.devices) < key.devices_max:
                self.devices.add(device)
        return set(devices) - self.devices

    def refresh(self) -> None:
        pass


class Counter:
    """Counts what is spent; makes everybody wait for as long as it is told to."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.spent, self.wait, self.debt = 0, wait_s, 0.0

    def wait_s(self, key: Key, now: float) -> float:
        return self.wait

    def debt_wait_s(self, key: Key, now: float) -> float:
        return self.debt

    def spend(self, key: Key, amount: int) -> None:
        self.spent += amount


def doorman(known: Key, *, wait_s: float = 0.0, problem: str = "") -> Doorman:
    return Doorman(
        cast(KeyRing, Ring(known, problem)),
        cast(DeviceRegistry, Registry()),
        cast(Rates, Counter(wait_s)),
        unix_s=lambda: NOW,
    )


def ask(
    known: Key, headers: Any, scope: Scope = "ingest", device: str | None = None, **more: Any
) -> Visitor | ProblemAnswer:
    return doorman(known, **more).admit(CIMultiDict(headers), scope, device)


def refusal(*arguments: Any, **more: Any) -> tuple[int, str, str]:
    """Status, code and challenge of the answer."""
    answer = ask(*arguments, **more)
    assert isinstance(answer, ProblemAnswer)
    assert GOOD.encode() not in answer.body
    assert "thegoodone" not in repr(answer)
    return answer.status, answer.code, answer.headers.get("WWW-Authenticate", "")


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"authorization": f"bearer {GOOD}"},
        {"Authorization": f"BEARER   {GOOD}  "},
        {"X-API-Key": GOOD},
        {"x-api-key": GOOD, "Authorization": "Basic dXNlcjpwYXNz"},  # for a proxy on the way
        {**BEARER, "X-API-Key": GOOD},
        [*BEARER.items(), *BEARER.items()],
    ],
)
def test_a_good_key_is_let_in_however_it_comes(headers: Any) -> None:
    assert isinstance(ask(key(), headers), Visitor)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic dXNlcjpwYXNz"}, {"Authorization": GOOD}])
def test_without_a_key_the_answer_asks_for_one(headers: Any) -> None:
    assert refusal(key(), headers) == (401, "unauthorized", 'Bearer realm="hseie"')


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {GOOD}x"},
        {"X-API-Key": ""},
        {"X-API-Key": "nobody"},
        {**BEARER, "X-API-Key": "another"},
        [("X-API-Key", GOOD), ("X-API-Key", "another")],
        [*BEARER.items(), ("Authorization", "Bearer another")],
    ],
)
def test_a_key_that_is_not_one_or_not_the_only_one(headers: Any) -> None:
    assert refusal(key(), headers) == (401, "unauthorized", 'Bearer realm="hseie", error="invalid_token"')


def test_unknown_revoked_and_expired_are_not_told_apart() -> None:
    answers = [
        ask(key(), {"X-API-Key": "unknown"}),
        ask(key(revoked_at=NOW - 5), BEARER),
        ask(key(expires_at=NOW), BEARER),
    ]
    assert len({(cast(ProblemAnswer, answer).body, str(answer.headers)) for answer in answers}) == 1  # type: ignore[union-attr]
    assert isinstance(ask(key(expires_at=NOW + 1), BEARER), Visitor)


def test_while_the_keys_cannot_be_read_nobody_is_told_that_his_key_is_wrong() -> None:
    assert refusal(key(), {"X-API-Key": "perhaps-new"}, problem="unreadable")[:2] == (503, "keys_unavailable")
    assert isinstance(ask(key(), BEARER, problem="unreadable"), Visitor)
    assert refusal(key(revoked_at=NOW), BEARER, problem="unreadable")[0] == 401


def test_a_key_that_was_just_made_is_good_at_once() -> None:
    at_door = doorman(key())
    ring = cast(Ring, at_door.ring)
    now = 1000.0
    at_door.monotonic_s = lambda: now
    brand_new, stranger = (key_text(10 * letter, 43 * "s") for letter in "bs")
    ring.new = {brand_new}
    assert isinstance(at_door.admit(CIMultiDict({"X-API-Key": brand_new}), "ingest"), Visitor)
    another = key_text(10 * "a", 43 * "s")
    at_door.admit(CIMultiDict({"X-API-Key": stranger}), "ingest")
    ring.new = {another}  # made right after that look
    assert isinstance(at_door.admit(CIMultiDict({"X-API-Key": another}), "ingest"), Visitor)
    assert ring.looks == 3
    for nothing_new in (BEARER, {"X-API-Key": "no key at all"}, {}):
        at_door.admit(CIMultiDict(nothing_new), "ingest")
    assert ring.looks == 3
    ring.problem = "damaged"  # strangers do not keep us opening it
    for _ in range(100):
        at_door.admit(CIMultiDict({"X-API-Key": stranger}), "ingest")
    assert ring.looks == 3
    now += 0.2
    at_door.admit(CIMultiDict({"X-API-Key": stranger}), "ingest")
    assert ring.looks == 4


def test_the_log_says_once_that_the_keys_cannot_be_read_and_once_that_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Mock()
    monkeypatch.setattr("hseie.admission._log", log)
    at_door = doorman(key())
    for problem in ("", "the file is gone", "the file is gone", "", ""):
        cast(Ring, at_door.ring).problem = problem
        at_door.refresh(0.0)
    assert log.method_calls == [
        call.warning("keys_not_readable", reason="the file is gone"),
        call.info("keys_readable", keys=1),
    ]


async def test_what_fails_in_one_round_is_logged_now_and_then_and_tried_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Mock()
    monkeypatch.setattr("hseie.admission._log", log)
    monkeypatch.setattr("hseie.admission._LOOK_S", 0.001)
    monkeypatch.setattr("hseie.admission._REFRESH_S", 0.0)
    at_door = doorman(key())
    cast(Counter, at_door.rates).look = Mock(side_effect=ZeroDivisionError)  # type: ignore[attr-defined]
    ring = cast(Ring, at_door.ring)
    refresh = ring.refresh
    ring.refresh = Mock(side_effect=[RuntimeError] * 5 + [False] * 10_000)  # type: ignore[method-assign]
    watching = asyncio.ensure_future(watch(at_door))
    async with asyncio.timeout(30):
        while ring.refresh.call_count < 10:
            await asyncio.sleep(0.01)
            assert not watching.done()
    watching.cancel()
    ring.refresh = refresh  # type: ignore[method-assign]
    assert log.method_calls == [call.exception("keys_not_watched")]


def test_keys_that_were_long_not_looked_at_are_told_of() -> None:
    at_door = doorman(key())
    ring = cast(Ring, at_door.ring)
    ring.refreshed_at = 1000.0
    figures = key_figures(at_door, 1010.0)
    assert (figures["keys_age_s"], figures["keys_stale"], figures["keys_trouble"]) == (10.0, 0, "")
    figures = key_figures(at_door, 1011.0)
    assert (figures["keys_age_s"], figures["keys_stale"]) == (11.0, 1)
    assert "last looked at 11 s ago" in figures["keys_trouble"]
    ring.problem = "the file is gone"
    assert key_figures(at_door, 1011.0)["keys_trouble"] == "the file is gone"
    ring.refreshed_at = 0.0  # never
    assert key_figures(at_door, 1011.0)["keys_age_s"] is None
    assert key_figures(None, 1011.0).keys() == figures.keys()
    assert figures.keys() & KEY_LIMITS.keys() == KEY_LIMITS.keys()


def test_a_scope_that_is_missing_is_named() -> None:
    answer = ask(key(), BEARER, "read")
    assert isinstance(answer, ProblemAnswer)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert "`read`" in orjson.loads(answer.body)["detail"]
    assert isinstance(ask(key(scopes=frozenset({"admin"})), BEARER, "read"), Visitor)


BOUND = key(scopes=frozenset({"ingest", "read", "admin"}), devices=Devices(frozenset({"X"}), ("M",)))


@pytest.mark.parametrize(
    ("scope", "device", "code"),
    [
        ("read", "M_1", None),
        ("read", "X", None),
        ("read", "OTHER", "device_not_allowed"),
        ("read", None, "forbidden"),  # the fleet
        ("admin", None, "forbidden"),
        ("ingest", None, None),  # what the readings name is asked one by one
    ],
)
def test_what_a_key_of_some_devices_may_see(scope: Scope, device: str | None, code: str | None) -> None:
    answer = ask(BOUND, BEARER, scope, device)
    assert (answer.code if isinstance(answer, ProblemAnswer) else None) == code
    assert not isinstance(answer, ProblemAnswer) or answer.status == 403


def test_over_the_rate_the_answer_says_when_to_come_again() -> None:
    answer = ask(key(readings_per_s=5), BEARER, wait_s=20.0)
    assert isinstance(answer, ProblemAnswer)
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert 20 <= int(answer.headers["Retry-After"]) <= 31


def test_a_request_costs_one_and_its_readings_the_rest() -> None:
    at_door = doorman(key())
    visitor = at_door.admit(CIMultiDict(BEARER), "ingest")
    assert isinstance(visitor, Visitor)
    spent = cast(Counter, at_door.rates)
    assert spent.spent == 1
    for readings, cost in ((0, 1), (1, 1), (1000, 1000)):
        assert visitor.pay(readings) is None
        assert spent.spent == cost
    visitor.give_back()
    assert spent.spent == 0


def test_who_has_to_pay_more_while_others_have_overdrawn_is_turned_away_and_pays_no_more() -> None:
    at_door = doorman(key(readings_per_s=5.0))
    visitor = at_door.admit(CIMultiDict(BEARER), "ingest")
    assert isinstance(visitor, Visitor)
    spent = cast(Counter, at_door.rates)
    spent.debt = 20.0
    assert visitor.pay(1) is None  # was paid for at the door
    answer = visitor.pay(2)
    assert isinstance(answer, ProblemAnswer)
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert "5 readings a second" in orjson.loads(answer.body)["detail"]
    assert 20 <= int(answer.headers["Retry-After"]) <= 31
    assert spent.spent == 1


def test_who_is_turned_away_costs_nothing_and_is_counted() -> None:
    at_door = doorman(key())
    for headers, scope in (({}, "ingest"), ({"X-API-Key": "x"}, "read"), (BEARER, "read")):
        at_door.admit(CIMultiDict(headers), cast(Scope, scope))
    assert at_door.refused == {"unauthorized": 2, "forbidden": 1}
    assert cast(Counter, at_door.rates).spent == 0


def answers(at_door: Doorman, devices: str) -> list[str | None]:
    """What somebody who sends a request of readings of some devices, a letter each, is told of them."""
    visitor = at_door.admit(CIMultiDict(BEARER), "ingest")
    assert isinstance(visitor, Visitor)
    return visitor.judge(lambda admits: [admits(device) if admits is not None else "all" for device in devices])


def test_devices_are_asked_for_only_where_a_key_is_bound() -> None:
    assert answers(doorman(key()), "AB") == ["all"] * 2
    assert answers(doorman(BOUND), "XMx") == [None, None, NOT_ALLOWED]
    assert answers(doorman(key(devices_max=2)), "ABACB") == [None, None, None, OVER_QUOTA, None]
    both = doorman(key(devices=Devices(prefixes=("M", "N")), devices_max=1))
    assert answers(both, "AMNM") == [NOT_ALLOWED, None, OVER_QUOTA, None]
    assert cast(Registry, both.registry).asked == [["M", "N"]]  # "A" takes no place


def test_the_new_devices_of_a_request_are_asked_for_at_once() -> None:
    at_door = doorman(key(devices_max=3))
    registry = cast(Registry, at_door.registry)
    assert answers(at_door, "AABBA") == [None] * 5
    assert answers(at_door, "ABBA") == [None] * 4
    assert answers(at_door, "DACEDB") == [None, None, OVER_QUOTA, OVER_QUOTA, None, None]
    assert registry.asked == [["A", "B"], ["D", "C", "E"]]
    assert answers(at_door, "CE") == [OVER_QUOTA] * 2
    assert registry.asked[2:] == [["C", "E"]]  # what is refused is not remembered: strangers would fill the memory


def test_what_a_request_holds_is_judged_again_only_where_a_device_is_refused() -> None:
    at_door = doorman(key(devices_max=1))
    for devices, times in (("A", 1), ("A", 1), ("AB", 2), ("A", 1)):
        visitor = at_door.admit(CIMultiDict(BEARER), "ingest")
        assert isinstance(visitor, Visitor)
        parse = Mock(side_effect=lambda admits, devices=devices: [admits(device) for device in devices])
        visitor.judge(parse)
        assert parse.call_count == times


def test_a_request_that_fails_leaves_nothing_to_the_next() -> None:
    at_door = doorman(key(devices_max=9))
    registry = cast(Registry, at_door.registry)
    registry.broken = True
    with pytest.raises(KeysFileError):
        answers(at_door, "AB")
    registry.broken = False

    def fail(admits: Any) -> None:
        admits("C")
        raise ValueError("no body of ours")

    visitor = at_door.admit(CIMultiDict(BEARER), "ingest")
    assert isinstance(visitor, Visitor)
    with pytest.raises(ValueError, match="no body of ours"):
        visitor.judge(fail)
    assert answers(at_door, "D") == [None]
    assert registry.devices == {"D"}


def test_what_is_known_of_a_device_is_not_asked_again_until_it_may_be_wrong() -> None:
    at_door = doorman(key(devices_max=2))
    registry = cast(Registry, at_door.registry)
    assert answers(at_door, "ABA") == answers(at_door, "ABB") == [None] * 3
    assert len(registry.asked) == 1
    registry.devices.remove("A")
    registry.generation += 1  # an operator had it forgotten
    assert answers(at_door, "CBA") == [None, None, OVER_QUOTA]
    cast(Ring, at_door.ring).known = key(devices_max=3)
    assert answers(at_door, "A") == [None]


def test_what_is_remembered_of_devices_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hseie.admission.DEVICES_ADMITTED_MAX", 10)
    at_door = doorman(key(devices_max=100))
    assert answers(at_door, "ABCDEFGHIJK") == [None] * 11
    at_door.refresh(0.0)
    assert at_door._admitted == {}


def test_a_header_is_no_key_because_it_looks_like_one() -> None:
    assert presented_keys(CIMultiDict({"Authorization": "Bearertoken", "Cookie": GOOD})) == set()


# --- who may reach a node ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.0.2.7", False),
        ("::ffff:192.0.2.7", False),
        ("fe80::1%lo", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_name_that_stands_for_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.invalid"):
        is_loopback("nowhere.invalid")


def test_a_node_without_keys_does_not_listen_on_a_network_unless_it_is_told_to() -> None:
    def access(host: str, **auth: Any) -> str:
        return who_is_let_in(Config(http=Http(host=host), auth=Auth(**auth)))

    assert access("127.0.0.1") == "this_machine"
    assert access("127.0.0.1", open_to_network=True) == "this_machine"
    assert access("0.0.0.0", mode="keys") == "keys"
    assert access("0.0.0.0", open_to_network=True) == "everybody"
    tls = Tls(certificate="c", key="k", client_ca="a")
    assert who_is_let_in(Config(http=Http(host="0.0.0.0"), tls=tls)) == "certificates"
    optional = msgspec.structs.replace(tls, client_certificates="optional")
    with pytest.raises(ConfigError, match=r"tls\.client_ca"):
        who_is_let_in(Config(http=Http(host="0.0.0.0"), tls=optional))
    with pytest.raises(ConfigError, match=r"auth\.mode = .*auth\.open_to_network = true") as caught:
        access("0.0.0.0")
    assert caught.value.exit_code == 78
