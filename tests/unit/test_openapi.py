"""The description of the interface: valid, and made from the declarations."""

import hashlib
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import hseie.analytics
from hseie.config import Auth, Config, Http
from hseie.openapi import document, problems_of_keys
from hseie.problems import PROBLEMS
from hseie.readings import KINDS
from hseie.route_table import ROUTES

STATIC = Path(hseie.analytics.__file__).parent / "static"


def test_it_is_valid() -> None:
    described = document(Config())
    assert described["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []


def test_every_field_of_every_kind_is_described_with_its_range() -> None:
    schemas = document(Config())["components"]["schemas"]
    for kind in KINDS:
        schema = schemas[f"{kind.name.capitalize()}Reading"]
        assert set(schema["properties"]) == set(kind.wire_fields) == set(schema["required"])
        for field in kind.fields:
            described = schema["properties"][field.wire]
            most = described["exclusiveMaximum" if field.maximum_excluded else "maximum"]
            assert (described["minimum"], most) == (field.minimum, field.maximum)
            assert field.unit in described["description"]


def test_limits_are_those_of_the_configuration() -> None:
    assert "up to 77 readings" in document(Config(http=Http(batch_readings_max=77)))["info"]["description"]


def test_routes_are_declared_once_and_name_declared_problems() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {code for route in ROUTES for code in route.problems} <= set(PROBLEMS)


def test_answers_that_may_be_retried_say_when() -> None:
    for path in document(Config())["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                assert ("Retry-After" in answer.get("headers", {})) == (status in ("429", "502", "503", "504"))


WITH_KEYS = Config(auth=Auth(mode="keys"))


def test_with_keys_it_is_valid_and_every_route_says_what_it_asks_for() -> None:
    described = document(WITH_KEYS)
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
    schemes = described["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme"), scheme.get("name")) for scheme in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    for route in ROUTES:
        operation = described["paths"][route.path][route.method]
        if route.scope is None:
            assert operation["security"] == []
            assert not operation["responses"].keys() & {"401", "403", "429"}
        else:
            assert operation["security"] == [{name: [route.scope]} for name in schemes]  # either of them will do
            assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]
            assert "Retry-After" in operation["responses"]["429"]["headers"]
            assert {"403", "503"} <= operation["responses"].keys()
    assert "`device_quota`" in described["paths"]["/v1/ingest/meter"]["post"]["responses"]["429"]["description"]
    assert (
        "`device_not_allowed`"
        in described["paths"]["/v1/ingest/meter/{id}/current"]["get"]["responses"]["403"]["description"]
    )
    assert (
        "`device_not_allowed`"
        not in described["paths"]["/v1/analytics/stats"]["get"]["responses"]["403"]["description"]
    )


def test_without_keys_nothing_is_said_of_them() -> None:
    described = document(Config())
    assert "securitySchemes" not in described["components"]
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert not [operation for operation in operations if "security" in operation or "401" in operation["responses"]]


def test_what_keys_add_is_declared() -> None:
    assert {code for route in ROUTES for code in problems_of_keys(route)} <= set(PROBLEMS)


def test_the_parameter_that_names_a_device_is_known() -> None:
    named = {route.path: route.device_parameter for route in ROUTES if route.path_parameters}
    assert {path for path, parameter in named.items() if parameter is None} == {"/v1/ingest/jobs/{jobId}"}


@pytest.mark.parametrize("line", (STATIC / "vendor/swagger-ui/SHA256SUMS").read_text().splitlines())
def test_vendored_files_are_what_they_were(line: str) -> None:
    digest, name = line.split()
    assert hashlib.sha256((STATIC / "vendor/swagger-ui" / name).read_bytes()).hexdigest() == digest


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for name in ("api.html", "api.js"):
        assert "://" not in (STATIC / name).read_text()
