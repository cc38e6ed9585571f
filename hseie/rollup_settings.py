"""What rollups depend on besides readings. With other settings they are made anew, and until then nobody reads them."""

import json
from datetime import timedelta

from hseie.config import Config

# Raised with the rules that stand in sql/parts, so that rollups of former rules are made anew.
RULES = 1


def settings_of(config: Config) -> str:
    """Return what rollups depend on besides readings, as text; `rollup_state.settings` says it of those there are."""
    analytics, device = config.analytics, config.device
    return json.dumps(
        {
            "rules": RULES,
            "correlation_window_s": analytics.correlation_window_s,
            "vehicle_prefix": analytics.vehicle_prefix,
            "meter_prefix": analytics.meter_prefix,
            "energy": device.energy,
            "energy_of": device.energy_of,
            "register_power_max_kw": device.register_power_max_kw,
        },
        sort_keys=True,
    )


def margin_of(config: Config) -> timedelta:
    """Return how far from an hour a reading may lie that decides about what lies in it: twice the tolerance, in whole
    minutes."""
    minute = timedelta(minutes=1)
    return -(-timedelta(seconds=2 * config.analytics.correlation_window_s) // minute) * minute
