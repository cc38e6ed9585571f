"""Which devices send a running total instead of the energy since their reading before."""

from datetime import timedelta
from decimal import Decimal

from hseie.config import Device

# As hseie_register_reach() has it: how far back the reading may lie that a register's is compared with.
REACH = timedelta(days=35)


def mode_of(device_id: str, device: Device) -> str:
    """Return "interval" or "register": what the energy of a device's readings is.

    Of the entries of `device.energy_of` the id itself counts, or else the longest prefix that fits.
    """
    exact = device.energy_of.get(device_id)
    if exact is not None:
        return exact
    fitting = [key for key in device.energy_of if key.endswith("*") and device_id.startswith(key[:-1])]
    return device.energy_of[max(fitting, key=len)] if fitting else device.energy


def is_register(device_id: str | None, device: Device) -> bool:
    """Return whether a device sends a running total; false for no device."""
    return device_id is not None and mode_of(device_id, device) == "register"


def power_max_kw(device: Device) -> Decimal:
    """Return the kW above which the step of a register is not believed, as SQL takes it."""
    return Decimal(str(device.register_power_max_kw))
