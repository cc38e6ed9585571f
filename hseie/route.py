"""What is declared of a route of the HTTP interface."""

from dataclasses import dataclass, field
from typing import Literal

from hseie.access import Scope
from hseie.openapi_schemas import Schema


@dataclass(frozen=True)
class Parameter:
    """A parameter of a query or a header. `may_be_empty`: it may stand there without a value."""

    name: str
    meaning: str
    schema: Schema
    place: Literal["query", "header"] = "query"
    may_be_empty: bool = False


@dataclass(frozen=True)
class Route:
    """One method on one path. `answers` is status to the schema of a JSON answer, to a content type, or to None for one
    without a body. `headers` are those that it may answer with, by status. `body` is the name of the schema of a
    reading: one is taken, or a batch; `document` is that of another JSON object that is taken. `problems` are those of
    its own: what every route may meet is not listed here. `events` are the schemas of what a stream without an end
    sends; an event is called as its schema, in small letters.

    `csv`: who asks for it gets its answer as CSV.

    `scope` is what a key must have for it; None: it is open to all, since it shows nothing of devices.
    """

    method: Literal["get", "post", "put", "delete"]
    path: str
    served_by: Literal["acceptor", "analytics"]
    tag: str
    summary: str
    answers: dict[int, Schema | str | tuple[str, ...] | None]
    problems: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    headers: tuple[tuple[int, str], ...] = ()
    events: tuple[str, ...] = ()
    document: str | None = None
    scope: Scope | None = field(kw_only=True)
    csv: bool = False

    @property
    def path_parameters(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    @property
    def device_parameter(self) -> str | None:
        """The parameter of the path that names a device; None: the route is about none, or about all."""
        return next((name for name in self.path_parameters if name in _NAME_A_DEVICE), None)


_NAME_A_DEVICE = ("id", "vehicleId")


def operation_id(method: str, path: str) -> str:
    """Return the name that generated clients call a route by. It never changes."""
    words = [word.strip("{}") for word in path.removeprefix("/v1").replace(".", "/").split("/") if word]
    return "_".join([method, *(words or ["dashboard"])])
