"""Who asks, and may he: API keys with their scopes, devices, rates and quotas. For all who have an HTTP server.

A key comes as `Authorization: Bearer <key>` (RFC 6750) or `X-API-Key: <key>`. The check is a function of the headers,
the scope that the route asks for, and the device in its path; it costs the body nothing, since it comes before it.
A key that is unknown, wrong, revoked or expired gets one and the same answer. No key is ever logged or repeated.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from hseie import clock
from hseie.access import NOT_ALLOWED, OVER_QUOTA, Admits, Key, Scope
from hseie.config import Config
from hseie.key_text import KEYS_MAX, split_key
from hseie.keys import DeviceRegistry, KeyRing
from hseie.problems import ProblemAnswer, problem_answer
from hseie.rates import Rates
from hseie.shared_counters import SharedCounters

_Parsed = TypeVar("_Parsed")

_log = structlog.get_logger("hseie.admission")

CHALLENGE = 'Bearer realm="hseie"'
_INVALID = f'{CHALLENGE}, error="invalid_token"'
_HOW = "send an API key as `Authorization: Bearer <key>` or `X-API-Key: <key>`; `hseie keys create` makes one"
_BAD = "this API key is not valid, or not any more; `hseie keys list` shows those that are"
_SEVERAL = "the request carries several keys; send one"

_REFRESH_S = 1.0  # a key that is revoked is out after that
_REFRESH_AT_ONCE_S = 0.1  # while something is wrong with the file
_LOOK_S = 0.25
_AGE_MAX_S = 10.0
_LOG_AGAIN_S = 60.0
DEVICES_ADMITTED_MAX = 500_000  # over all keys, and what comes within a second; about 150 bytes each

KEY_LIMITS = {"keys": KEYS_MAX, "keys_devices": DEVICES_ADMITTED_MAX}


class Headers(Protocol):
    """The headers of a request, as aiohttp has them."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class AdmittedDevices(dict[str, str | None]):
    """The devices that a key was admitted for. What is not admitted is not kept.

    A dictionary, because it is asked for every reading: asking in C costs 0.05 µs, anew 0.4 µs.
    """

    def __init__(self, key: Key, registry: DeviceRegistry) -> None:
        self._key = key
        self._registry = registry
        self._generation = registry.generation
        self._new: dict[str, None] = {}  # a set that keeps its order
        self._refused: set[str] = set()

    def __missing__(self, device: str) -> str | None:
        """Return a code of `hseie.access`, or None: one that counts and is new may be taken as far as we know."""
        if not self._key.devices.hold(device):
            return NOT_ALLOWED
        if device in self._refused:
            return OVER_QUOTA
        if self._key.devices_max:
            self._new[device] = None
        else:
            self[device] = None
        return None

    def judge(self, parse: Callable[[Admits], _Parsed]) -> _Parsed:
        """Return what `parse` makes of a request by asking for the device of each reading.

        It is called again where one of the new devices is refused: only then are they known, and they are admitted in
        one transaction or not at all. Raises KeysFileError, and what `parse` raises.
        """
        try:
            parsed = parse(self.__getitem__)
            if self._new:
                self._refused = self._registry.admit(self._key, self._new)
                self.update((device, None) for device in self._new if device not in self._refused)
                if self._refused:
                    parsed = parse(self.__getitem__)
            return parsed
        finally:
            if self._new:
                self._new, self._refused = {}, set()

    def holds(self, key: Key) -> bool:
        """Tell whether it is about this very key, and nothing was forgotten since."""
        return self._key is key and self._generation == self._registry.generation


@dataclass(slots=True)
class Visitor:
    """Somebody who was let in. `devices` are those he may speak for; None where there is nothing to ask."""

    key: Key
    devices: AdmittedDevices | None
    _rates: Rates
    _monotonic_s: Callable[[], float]
    _spent: int = 1  # the request itself, at the door

    def judge(self, parse: Callable[[Admits | None], _Parsed]) -> _Parsed:
        """Return what `parse` makes of his request; see `AdmittedDevices.judge`. Raises KeysFileError."""
        return parse(None) if self.devices is None else self.devices.judge(parse)

    def pay(self, readings: int) -> ProblemAnswer | None:
        """Count the readings of his request against his rate; the first of them was paid for at the door.

        Who has to pay for more while others have overdrawn the key since then is turned away, with that answer: so all
        who came in at once overdraw it by one request, not by one each.
        """
        if readings > 1:
            if wait_s := self._rates.debt_wait_s(self.key, self._monotonic_s()):
                return _rate_limited(self.key, wait_s)
            self._rates.spend(self.key, readings - 1)
            self._spent = readings
        return None

    def give_back(self) -> None:
        """Give back what was paid, since nothing was taken."""
        self._rates.spend(self.key, -self._spent)
        self._spent = 0


@dataclass(slots=True)
class Doorman:
    """Lets in, or says why not. One for each process that serves HTTP."""

    ring: KeyRing
    registry: DeviceRegistry
    rates: Rates
    refused: dict[str, int] = field(default_factory=dict)  # by the code of the answer
    refreshed_at: float = 0.0
    _admitted: dict[str, AdmittedDevices] = field(default_factory=dict)  # by key id
    _told: str = ""  # the problem that the log knows of
    unix_s: Callable[[], float] = clock.unix_s
    monotonic_s: Callable[[], float] = time.monotonic

    @property
    def devices_admitted(self) -> int:
        """How many devices are remembered, over all keys."""
        return sum(map(len, self._admitted.values()))

    def admit(self, headers: Headers, scope: Scope, device: str | None = None) -> Visitor | ProblemAnswer:
        """Return who it is, or the answer that turns him away. `device` is the one that the path names."""
        found = self._judge(headers, scope, device)
        if isinstance(found, ProblemAnswer):
            self.refused[found.code] = self.refused.get(found.code, 0) + 1
            return found
        self.rates.spend(found, 1)
        return Visitor(found, self._devices(found), self.rates, self.monotonic_s)

    def _judge(self, headers: Headers, scope: Scope, device: str | None) -> Key | ProblemAnswer:
        given = presented_keys(headers)
        if len(given) != 1:
            return _unauthorized(_INVALID, _SEVERAL) if given else _unauthorized(CHALLENGE, _HOW)
        presented = given.pop()
        key = self._find(presented)
        if key is None or not key.is_good(self.unix_s()):
            if key is None and (doubt := self.ring.doubt(presented)):
                return problem_answer("keys_unavailable", doubt)
            return _unauthorized(_INVALID, _BAD)
        if not key.may(scope):
            return problem_answer("forbidden", f"this needs a key with the scope `{scope}`")
        if not key.devices.all:
            if device is not None and not key.devices.hold(device):
                return problem_answer(NOT_ALLOWED)
            if device is None and scope != "ingest":
                # Readings name their devices, and a receipt tells nothing of any: all else shows the whole fleet.
                return problem_answer("forbidden", "this shows the whole fleet, and the key is bound to some devices")
        if wait_s := self.rates.wait_s(key, self.monotonic_s()):
            return _rate_limited(key, wait_s)
        return key

    def _find(self, presented: str) -> Key | None:
        key = self.ring.find(presented)
        if key is None and split_key(presented):
            now = self.monotonic_s()
            # Whoever has just been given a key uses it, and a 401 would be final. A look at a file that has not changed
            # is cheap; one that cannot be read is opened anew, and strangers shall not keep us at that.
            if not self.ring.problem or now - self.refreshed_at > _REFRESH_AT_ONCE_S:
                self.refresh(now)
                key = self.ring.find(presented)
        return key

    def refresh(self, now: float) -> None:
        """Notice what was changed about the keys. `now` is monotonic seconds."""
        self.refreshed_at = now
        self.ring.refresh()
        self.registry.refresh()
        if self.ring.problem != self._told:
            self._told = self.ring.problem
            if self._told:
                _log.warning("keys_not_readable", reason=self._told)
            else:
                _log.info("keys_readable", keys=self.ring.keys)
        if self.devices_admitted > DEVICES_ADMITTED_MAX:
            self._admitted.clear()

    def refresh_in_time(self, now: float) -> None:
        """Refresh about once a second, however often this is called."""
        if now - self.refreshed_at >= _REFRESH_S:
            self.refresh(now)

    def _devices(self, key: Key) -> AdmittedDevices | None:
        if key.devices.all and not key.devices_max:
            return None
        known = self._admitted.get(key.key_id)
        if known is None or not known.holds(key):
            known = self._admitted[key.key_id] = AdmittedDevices(key, self.registry)
        return known


def open_door(config: Config, run_dir: Path) -> Doorman | None:
    """Return who stands at the door of a process; None where nobody is asked for anything. Raises HseieError."""
    if config.auth.mode == "none":
        return None
    return Doorman(KeyRing(config.keys_file), DeviceRegistry(config.keys_file), Rates(SharedCounters(run_dir)))


async def watch(doorman: Doorman | None) -> None:
    """Keep the keys and the rates up to date, for ever."""
    if doorman is None:
        return
    log_again_at = 0.0
    while True:
        now = time.monotonic()
        for step in (doorman.rates.look, doorman.refresh_in_time):
            try:
                step(now)
            except Exception:  # whatever it is, a key that is revoked later has to be out all the same
                if now >= log_again_at:
                    log_again_at = now + _LOG_AGAIN_S
                    _log.exception("keys_not_watched")
        await asyncio.sleep(_LOOK_S)


def key_figures(doorman: Doorman | None, now: float) -> dict[str, Any]:
    """Return what a heartbeat tells of the keys. `now` is monotonic seconds."""
    if doorman is None:
        return {"keys": 0, "keys_stale": 0, "keys_age_s": None, "keys_trouble": "", "keys_devices": 0}
    ring = doorman.ring
    age_s = now - ring.refreshed_at if ring.refreshed_at else None
    trouble = ring.problem
    if not trouble and age_s is not None and age_s > _AGE_MAX_S:
        trouble = (
            f"the keys were last looked at {age_s:.0f} s ago: one that was revoked since is still good; see the log"
        )
    return {
        "keys": ring.keys,
        "keys_stale": int(bool(trouble)),
        "keys_age_s": age_s,
        "keys_trouble": trouble,
        "keys_devices": doorman.devices_admitted,
    }


def presented_keys(headers: Headers) -> set[str]:
    """Return the different keys that a request carries. Another scheme than Bearer is somebody else's business."""
    found = set(headers.getall("X-API-Key", ()))
    for value in headers.getall("Authorization", ()):
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() == "bearer":
            found.add(credentials.strip())
    return found


def _rate_limited(key: Key, wait_s: float) -> ProblemAnswer:
    limit = f"{key.readings_per_s:g} readings a second"
    return problem_answer("rate_limited", f"this key may send {limit}; a query counts as one", retry_s=wait_s)


def _unauthorized(challenge: str, detail: str) -> ProblemAnswer:
    answer = problem_answer("unauthorized", detail)
    answer.headers["WWW-Authenticate"] = challenge
    return answer
