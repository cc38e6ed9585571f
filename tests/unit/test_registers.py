"""Which devices send a running total, by their ids."""

from decimal import Decimal

import pytest

from hseie.config import Device
from hseie.config_load import load
from hseie.errors import ConfigError
from hseie.registers import is_register, mode_of, power_max_kw

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
    assert mode_of(device, DEVICE) == mode
    assert is_register(device, DEVICE) == (mode == "register")


def test_an_id_counts_more_than_any_prefix() -> None:
    device = Device(energy_of={"M*": "register", "M1": "interval", "M1*": "register"})
    assert mode_of("M1", device) == "interval"
    assert mode_of("M12", device) == "register"


def test_the_default_is_for_all_others() -> None:
    assert mode_of("X", Device(energy="register")) == "register"
    assert mode_of("X", Device(energy="interval", energy_of={"*": "register"})) == "register"


def test_no_device_is_no_register() -> None:
    assert not is_register(None, Device(energy="register"))


def test_kilowatts_keep_their_decimals() -> None:
    assert power_max_kw(Device(register_power_max_kw=0.1)) == Decimal("0.1")


@pytest.mark.parametrize("key", ["METER_*", "METER_1", "*", "a.b:c-d", "M" * 50, "M" * 50 + "*"])
def test_keys_that_name_devices(key: str) -> None:
    assert load(overrides={"device.energy_of": {key: "register"}}).config.device.energy_of == {key: "register"}


@pytest.mark.parametrize("key", ["", "METER *", "**", "M*1", "*M", "M" * 51, "Ä", "M\n", "M*\n"])
def test_keys_that_can_name_no_device_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="energy_of"):
        load(overrides={"device.energy_of": {key: "register"}})
