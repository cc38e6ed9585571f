"""Which devices send a running total instead of the energy since their reading before."""

from datetime import timedelta
from decimal import Decimal

from hseie.config import Device
from hseie.readings import Kind

# As hseie_register_reach() has it: how far back the reading may lie that a register's is compared with.
REACH = timedelta(days=35)

# Between kind and device in a key of `device.energy_of`. No id has it, so that a key without it is an id or a prefix as
# ever; ids may have colons.
OF_KIND = "/"


def mode_of(kind: Kind, device_id: str, device: Device) -> str:
    """Return "interval" or "register": what the energy of the readings of a device of a kind is.

    Of the entries of `device.energy_of` that fit the id itself counts before a prefix, a longer prefix before a shorter
    one, and of two that say the same of the id that which names the kind.
    """
    for exact in (f"{kind.name}{OF_KIND}{device_id}", device_id):
        if exact in device.energy_of:
            return device.energy_of[exact]
    fitting = []
    for key, mode in device.energy_of.items():
        named, _, devices = key.rpartition(OF_KIND)
        if devices.endswith("*") and device_id.startswith(devices[:-1]) and named in ("", kind.name):
            fitting.append((len(devices), bool(named), mode))
    return max(fitting)[2] if fitting else device.energy


def is_register(kind: Kind, device_id: str | None, device: Device) -> bool:
    """Return whether a device of a kind sends a running total; false for no device."""
    return device_id is not None and mode_of(kind, device_id, device) == "register"


def power_max_kw(device: Device) -> Decimal:
    """Return the kW above which the step of a register is not believed, as SQL takes it."""
    return Decimal(str(device.register_power_max_kw))
