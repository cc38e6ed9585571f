"""Which devices send a running total, by their ids."""

import re
from decimal import Decimal

import pytest

from hseie.config import Config, Device
from hseie.config_load import load
from hseie.errors import ConfigError
from hseie.readings import KINDS, METER, VEHICLE, Kind
from hseie.registers import is_register, mode_of, power_max_kw
from hseie.rollup_settings import settings_of

DEVICE = Device(
    energy="interval",
    energy_of={"METER_*": "register", "METER_B*": "interval", "METER_B7*": "register", "METER_B70": "interval"},
)


@pytest.mark.parametrize(
    ("device", "mode"),
    [
        ("VEHICLE_1", "interval"),
        ("METER_", "register"),
        ("METER_A", "register"),
        ("METER_B", "interval"),
        ("METER_B1", "interval"),
        ("METER_B7", "register"),
        ("METER_B70", "interval"),
        ("METER_B701", "register"),
        ("meter_1", "interval"),
    ],
)
def test_the_longest_that_fits_counts(device: str, mode: str) -> None:
    assert mode_of(METER, device, DEVICE) == mode
    assert is_register(METER, device, DEVICE) == (mode == "register")


def test_an_id_counts_more_than_any_prefix() -> None:
    device = Device(energy_of={"M*": "register", "M1": "interval", "M1*": "register"})
    assert mode_of(VEHICLE, "M1", device) == "interval"
    assert mode_of(VEHICLE, "M12", device) == "register"


def test_the_default_is_for_all_others() -> None:
    assert mode_of(VEHICLE, "X", Device(energy="register")) == "register"
    assert mode_of(VEHICLE, "X", Device(energy="interval", energy_of={"*": "register"})) == "register"


KINDS_APART = Device(
    energy_of={
        "X1": "register",
        "vehicle/X1": "interval",
        "X2*": "interval",
        "meter/X2*": "register",
        "meter/X*": "register",
        "X3*": "interval",
        "meter/X44": "interval",
        "X4*": "register",
        "vehicle/*": "register",
        "meter:X5": "interval",
    }
)


@pytest.mark.parametrize(
    ("device", "of_meter", "of_vehicle"),
    [
        ("X1", "register", "interval"),  # an id with its kind before one without
        ("X2", "register", "interval"),  # a prefix with its kind before one as long without
        ("X31", "interval", "interval"),  # a longer prefix before a shorter one with its kind
        ("X44", "interval", "register"),  # an id before any prefix
        ("X45", "register", "register"),
        ("Y", "interval", "register"),
        ("X5", "register", "register"),
        ("meter:X5", "interval", "interval"),  # an id, with a colon
        ("meter:X6", "interval", "register"),
    ],
)
def test_a_meter_and_a_vehicle_of_one_id_may_differ(device: str, of_meter: str, of_vehicle: str) -> None:
    assert (mode_of(METER, device, KINDS_APART), mode_of(VEHICLE, device, KINDS_APART)) == (of_meter, of_vehicle)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_entries_says_nothing(kind: Kind, reverse: bool) -> None:
    entries = sorted(KINDS_APART.energy_of.items(), reverse=reverse)
    for device in ("X1", "X2", "X31", "X44", "X45", "Y"):
        assert mode_of(kind, device, Device(energy_of=dict(entries))) == mode_of(kind, device, KINDS_APART)


def test_rollups_are_made_anew_where_the_kind_of_an_entry_changes() -> None:
    made = {
        settings_of(Config(device=Device(energy_of={key: "register"})))
        for key in ("X1", "meter/X1", "vehicle/X1", "X1*")
    }
    assert len(made) == 4


def test_no_device_is_no_register() -> None:
    assert not is_register(METER, None, Device(energy="register"))


def test_kilowatts_keep_their_decimals() -> None:
    assert power_max_kw(Device(register_power_max_kw=0.1)) == Decimal("0.1")


OF_ONE_KIND = ["meter/X1", "vehicle/X1*", "meter/*", "meter:X1", "metre:X1", "vehicle/" + "V" * 50]


@pytest.mark.parametrize("key", ["METER_*", "METER_1", "*", "a.b:c-d", "M" * 50, "M" * 50 + "*", *OF_ONE_KIND])
def test_keys_that_name_devices(key: str) -> None:
    assert load(overrides={"device.energy_of": {key: "register"}}).config.device.energy_of == {key: "register"}


@pytest.mark.parametrize("key", ["", "METER *", "**", "M*1", "*M", "M" * 51, "Ä", "M\n", "M*\n", "meter/", "meter/M*1"])
def test_keys_that_can_name_no_device_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="energy_of"):
        load(overrides={"device.energy_of": {key: "register"}})


@pytest.mark.parametrize("key", ["metre/X1", "METER/X1", "/X1", "meter/vehicle/X1", "pair/X1*"])
def test_a_kind_that_there_is_not_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=f"energy_of: '{re.escape(key)}' names no kind .* meter/ or vehicle/"):
        load(overrides={"device.energy_of": {"X*": "register", key: "register"}})


def test_as_text_too() -> None:
    text = {"HSEIE_DEVICE__ENERGY_OF": "meter/X1=register, X1=interval"}
    assert load(environ=text).config.device.energy_of == {"meter/X1": "register", "X1": "interval"}
