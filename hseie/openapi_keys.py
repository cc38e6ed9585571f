"""What API keys and certificates of clients add to the OpenAPI description, where they are asked for."""

from hseie.config import Config
from hseie.openapi_schemas import Schema
from hseie.route import Route

SECURITY_SCHEMES: dict[str, Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key (`hseie keys create`), as RFC 6750 has it",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "the same key, for simple clients",
    },
}


def security(route: Route) -> list[dict[str, list[str]]]:
    """Either way of sending a key will do; since OpenAPI 3.1 what stands with it are the scopes, here: the one."""
    if route.scope is None:
        return []
    return [{name: [route.scope]} for name in SECURITY_SCHEMES]


def problems_of_access(route: Route, config: Config) -> tuple[str, ...]:
    """Return what a route may answer besides, with what `config` asks of clients."""
    of_keys = problems_of_keys(route) if config.auth.mode == "keys" else ()
    of_certificates = problems_of_certificates(route) if config.tls.binds_to_device else ()
    return tuple(dict.fromkeys((*of_keys, *of_certificates)))


def problems_of_certificates(route: Route) -> tuple[str, ...]:
    """Return what a route may answer besides, where a client's certificate is bound to a device."""
    if route.method == "post" or route.device_parameter:
        return ("device_not_allowed",)
    return ("forbidden",) if route.scope in ("read", "admin") else ()


def problems_of_keys(route: Route) -> tuple[str, ...]:
    """Return what a route may answer besides, where keys are asked for."""
    if route.scope is None:
        return ()
    of_devices = ("device_not_allowed",) if route.method == "post" or route.device_parameter else ()
    of_quotas = ("device_quota",) if route.method == "post" else ()
    return ("unauthorized", "forbidden", *of_devices, "rate_limited", *of_quotas, "keys_unavailable")
