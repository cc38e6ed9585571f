"""What a client's certificate that is bound to a device permits."""

import pytest

from hseie.access import NOT_ALLOWED, OVER_QUOTA, Scope
from hseie.client_certificate import admits_only, refuse


@pytest.mark.parametrize(
    ("scope", "device", "code"),
    [
        ("read", "D:1", None),
        ("read", "D:2", NOT_ALLOWED),
        ("read", "", NOT_ALLOWED),
        ("ingest", None, None),
        ("read", None, "forbidden"),
        ("admin", None, "forbidden"),
        (None, None, None),
    ],
)
def test_it_permits_what_concerns_its_device(scope: Scope | None, device: str | None, code: str | None) -> None:
    refused = refuse("D:1", scope, device)
    assert (refused.code if refused is not None else None) == code
    assert refused is None or refused.status == 403


def test_a_certificate_of_nobody_permits_nothing() -> None:
    assert refuse("", "read", "D:1") is not None
    assert admits_only("", None)("D:1") == NOT_ALLOWED


def test_the_key_has_to_permit_it_too_and_is_not_asked_about_others() -> None:
    asked = []

    def key(device: str) -> str | None:
        asked.append(device)
        return OVER_QUOTA

    both = admits_only("D:1", key)
    assert [both(device) for device in ("D:2", "D:1")] == [NOT_ALLOWED, OVER_QUOTA]
    assert asked == ["D:1"]
    assert admits_only("D:1", None)("D:1") is None
