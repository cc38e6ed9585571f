"""What rollups have to say, worked out in Python from all rows there are, from the sentences of the design."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
REACH = timedelta(days=35)
ENERGY = {"meter": 0, "vehicle": 1}  # place of the energy among the values
NAMES = {"meter": ("kwh_consumed_ac", "voltage"), "vehicle": ("soc", "kwh_delivered_dc", "battery_temp")}

Values = tuple[Decimal, ...]
Pairing = tuple[str, str, datetime, datetime | None]  # a row of device_pair


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    return hour_of(moment).replace(hour=0)


@dataclass
class Facts:
    """All rows, in the order of their ids, and what else rollups depend on."""

    rows: list[tuple[str, str, datetime, Values]] = field(default_factory=list)  # kind, device, time, values
    pairings: list[Pairing] = field(default_factory=list)
    registers: Callable[[str, str], bool] = lambda kind, device: False
    power_max_kw: Decimal = Decimal(1000)
    tolerance: timedelta = timedelta(seconds=30)

    def devices(self, kind: str) -> set[str]:
        return {device for of_kind, device, _, _ in self.rows if of_kind == kind}

    def effective(self, kind: str, device: str) -> dict[datetime, Values]:
        """By time: the newest row, a register's energy as the step from the reading before."""
        newest = {at: values for of_kind, name, at, values in self.rows if (of_kind, name) == (kind, device)}
        if not self.registers(kind, device):
            return newest
        place = ENERGY[kind]
        found = {}
        before: tuple[datetime, Decimal] | None = None
        for at in sorted(newest):
            shown = newest[at][place]
            step = self._step(before, at, shown)[1]
            found[at] = (*newest[at][:place], step, *newest[at][place + 1 :])
            before = (at, shown)
        return found

    def events(self, kind: str, device: str) -> dict[datetime, str]:
        newest = {at: values for of_kind, name, at, values in self.rows if (of_kind, name) == (kind, device)}
        times = sorted(newest)
        place = ENERGY[kind]
        found = {
            at: self._step((former, newest[former][place]), at, newest[at][place])[0] for former, at in pairwise(times)
        }
        return {at: event for at, event in found.items() if event}

    def _step(self, before: tuple[datetime, Decimal] | None, at: datetime, shown: Decimal) -> tuple[str, Decimal]:
        if before is None or at - before[0] > REACH:
            return "", Decimal(0)
        former = before[1]
        most = self.power_max_kw * Decimal((at - before[0]).total_seconds()) / 3600 + 1
        if shown >= former:
            return ("", shown - former) if shown - former <= most else ("jump", Decimal(0))
        capacity = Decimal(10) ** max(4, len(str(int(former))))
        if former >= capacity * 9 / 10 and shown + capacity - former <= most:
            return "rollover", shown + capacity - former
        return ("reset", shown) if shown <= most else ("replaced", Decimal(0))


def devices(
    facts: Facts, kind: str, bucket_of: Callable[[datetime], datetime]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rows of {kind}_hour or _day: (device, bucket) to the columns."""
    found = {}
    names, energy = NAMES[kind], ENERGY[kind]
    for device in facts.devices(kind):
        buckets: dict[datetime, list[Values]] = defaultdict(list)
        effective = facts.effective(kind, device)
        for at in sorted(effective):
            buckets[bucket_of(at)].append(effective[at])
        for bucket, rows in buckets.items():
            columns: list[Any] = [len(rows), sum(row[energy] for row in rows)]
            for place in range(len(names)):
                if place != energy:
                    values = [row[place] for row in rows]
                    columns += [values[0], values[-1], min(values), max(values), sum(values)]
            found[(device, bucket)] = tuple(columns)
    return found


def meter_at(facts: Facts, vehicle: str, by_id: str | None, moment: datetime) -> str | None:
    def covers(pairing: Pairing) -> bool:
        return pairing[2] <= moment and (pairing[3] is None or moment < pairing[3])

    own = [pairing for pairing in facts.pairings if pairing[0] == vehicle and covers(pairing)]
    if own:
        return max(own, key=lambda pairing: pairing[2])[1]
    taken = any(pairing[0] != vehicle and pairing[1] == by_id and covers(pairing) for pairing in facts.pairings)
    return None if taken else by_id


def candidates(vehicle: str) -> list[str]:
    """The meters that may feed a vehicle by its id, as the tests' ids have it."""
    rest = vehicle.removeprefix("VEHICLE_")
    return [vehicle, f"METER_{rest}"]


def stretches(facts: Facts, vehicle: str) -> Iterable[tuple[str | None, datetime, datetime]]:
    known = facts.devices("meter")
    by_id = next((meter for meter in candidates(vehicle) if meter in known), None)
    start, end = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    edges = {start, end} | {edge for pairing in facts.pairings for edge in pairing[2:] if edge}
    found: list[tuple[str | None, datetime, datetime]] = []
    for first, last in pairwise(sorted(edges)):
        meter = meter_at(facts, vehicle, by_id, first)
        if found and found[-1][0] == meter:
            found[-1] = (meter, found[-1][1], last)
        else:
            found.append((meter, first, last))
    return found


def nearest(moment: datetime, others: Iterable[datetime], tolerance: timedelta) -> datetime | None:
    near = [other for other in others if abs(other - moment) <= tolerance]
    return min(near, key=lambda other: (abs(other - moment), other), default=None)


def pairs(facts: Facts, bucket_of: Callable[[datetime], datetime]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Rows of pair_hour or pair_day: (vehicle, bucket, meter) to the columns."""
    found: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0, *(Decimal(0) for _ in range(5))])
    for vehicle in facts.devices("vehicle"):
        for meter, first, last in stretches(facts, vehicle):
            dc = {at: row for at, row in facts.effective("vehicle", vehicle).items() if first <= at < last}
            ac = {at: row for at, row in facts.effective("meter", meter or "").items() if first <= at < last}
            for at, (_, kwh, battery_temp) in dc.items():
                row = found[(vehicle, bucket_of(at), meter or "")]
                partner = nearest(at, ac, facts.tolerance)
                met = partner is not None and nearest(partner, dc, facts.tolerance) == at
                row[1] += 1
                row[7] += battery_temp
                if met and partner is not None:
                    row[2] += 1
                    row[3] += ac[partner][0]
                    row[4] += kwh
                else:
                    row[6] += kwh
            for at, (kwh, _) in ac.items():
                row = found[(vehicle, bucket_of(at), meter or "")]
                partner = nearest(at, dc, facts.tolerance)
                met = partner is not None and nearest(partner, ac, facts.tolerance) == at
                row[0] += 1
                if not met:
                    row[5] += kwh
    return {key: tuple(row) for key, row in found.items()}
