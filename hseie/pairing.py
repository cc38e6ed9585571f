"""Which meters may feed a vehicle, judging by the ids. Pure."""

from hseie.readings import is_device_id


def candidates(vehicle_id: str, vehicle_prefix: str, meter_prefix: str) -> list[str]:
    """Return the meters that may feed a vehicle judging by its id, the preferred first.

    The same id; then those whose rest is the same once the prefixes are taken off: with the prefix, and bare.
    """
    rest = vehicle_id.removeprefix(vehicle_prefix)
    found = dict.fromkeys((vehicle_id, meter_prefix + rest, rest))
    return [
        meter_id
        for meter_id in found
        # A bare rest that begins with the meters' prefix has another rest itself.
        if is_device_id(meter_id) and (meter_id == vehicle_id or meter_id.removeprefix(meter_prefix) == rest)
    ]
