"""The one place where analytics asks who wants to know: in front of all its routes."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hseie.access import Scope
from hseie.admission import Doorman
from hseie.analytics.pages import FILES
from hseie.client_certificate import refuse
from hseie.http_connection import client_name
from hseie.problems import ProblemAnswer
from hseie.route_table import ROUTES
from hseie.web import problem_response

# The pages themselves say nothing of devices; what they load they ask for with a key.
_OPEN = frozenset(("/", *FILES))


def entrance(doorman: Doorman | None, *, bound_to_certificates: bool) -> Middleware:
    """Return what lets in those who may see a route: who has a key for it (without `doorman` nobody needs one), and
    with `bound_to_certificates` only what concerns the device that the client's certificate names.

    A path or a method that does not exist is answered as ever, 404 and 405: the interface is public. What is neither in
    the route table nor a page is for those who may do everything.
    """
    needed = {route.path: (route.scope, route.device_parameter) for route in ROUTES if route.method == "get"}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is not None and (path := resource.canonical) not in _OPEN:
            closed: tuple[Scope | None, str | None] = ("admin", None)
            scope, parameter = needed.get(path, closed)
            if scope is not None:
                device = request.match_info[parameter] if parameter is not None else None
                if bound_to_certificates and (name := client_name(request)) is not None:
                    refused = refuse(name, scope, device)
                    if refused is not None:
                        return problem_response(refused)
                if doorman is not None:
                    let_in = doorman.admit(request.headers, scope, device)
                    if isinstance(let_in, ProblemAnswer):
                        return problem_response(let_in)
        return await handler(request)

    return check
