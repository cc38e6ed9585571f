"""What a client's certificate permits where it is bound to a device (`tls.client_subject`). Pure.

The name in it is a device's id. It restricts, and opens nothing: a key that is asked for is asked for all the same, and
both have to permit what is wanted.
"""

from hseie.access import NOT_ALLOWED, Admits, Scope
from hseie.problems import ProblemAnswer, problem_answer

_WHOLE_FLEET = "this shows the whole fleet, and the client's certificate is bound to one device"


def refuse(name: str, scope: Scope | None, device: str | None) -> ProblemAnswer | None:
    """Return the answer that turns a question away from whoever bears a certificate with `name`; None: he may ask.

    `device` is the one that the path names. A receipt (scope `ingest`) tells nothing of any device.
    """
    if device is not None and device != name:
        return problem_answer(NOT_ALLOWED, "the client's certificate is for another device")
    if device is None and scope in ("read", "admin"):
        return problem_answer("forbidden", _WHOLE_FLEET)
    return None


def admits_only(name: str, admits: Admits | None) -> Admits:
    """Return what is asked for the device of each reading: that of the certificate, if `admits` of the key does too."""

    def ask(device: str) -> str | None:
        if device != name:
            return NOT_ALLOWED
        return admits(device) if admits is not None else None

    return ask
