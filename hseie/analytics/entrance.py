"""The one place where analytics asks who wants to know: in front of all its routes."""

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hseie.access import Devices, Scope
from hseie.admission import Doorman
from hseie.analytics.pages import FILES
from hseie.client_certificate import refuse
from hseie.http_connection import client_name
from hseie.problems import ProblemAnswer
from hseie.route_table import ROUTES
from hseie.web import problem_response

_SPEAKS_FOR = web.RequestKey("speaks_for", tuple[Devices, ...])

# The pages themselves say nothing of devices; what they load they ask for with a key.
_OPEN = frozenset(("/", *FILES))


def entrance(doorman: Doorman | None, *, bound_to_certificates: bool) -> Middleware:
    """Return what lets in those who may see a route: who has a key for it (without `doorman` nobody needs one), and
    with `bound_to_certificates` only what concerns the device that the client's certificate names.

    A path or a method that does not exist is answered as ever, 404 and 405: the interface is public. What is neither in
    the route table nor a page is for those who may do everything.
    """
    needed: dict[tuple[str, str], tuple[Scope | None, str | None]] = {
        (route.method, route.path): (route.scope, route.device_parameter) for route in ROUTES
    }

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is not None and (path := resource.canonical) not in _OPEN:
            method = "get" if request.method == "HEAD" else request.method.lower()
            scope, parameter = needed.get((method, path), ("admin", None))
            if scope is not None:
                speaks_for: list[Devices] = []
                device = request.match_info[parameter] if parameter is not None else None
                if bound_to_certificates and (name := client_name(request)) is not None:
                    refused = refuse(name, scope, device)
                    if refused is not None:
                        return problem_response(refused)
                    speaks_for.append(Devices(frozenset((name,))))
                if doorman is not None:
                    let_in = doorman.admit(request.headers, scope, device)
                    if isinstance(let_in, ProblemAnswer):
                        return problem_response(let_in)
                    speaks_for.append(let_in.key.devices)
                request[_SPEAKS_FOR] = tuple(speaks_for)
        return await handler(request)

    return check


def may_speak_for(request: web.Request) -> Callable[[str], bool]:
    """Return what tells of a device that stands in no path whether who was let in may speak for it."""
    bounds = request.get(_SPEAKS_FOR, ())
    return lambda device: all(devices.hold(device) for devices in bounds)
