"""The description of the interface: valid, and made from the declarations."""

import hashlib
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import hseie.analytics
from hseie.config import Config, Http
from hseie.openapi import document
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


@pytest.mark.parametrize("package", ["swagger-ui", "uplot"])
def test_vendored_files_are_what_they_were(package: str) -> None:
    folder = STATIC / "vendor" / package
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert {file.name for file in folder.iterdir()} == set(sums) | {"README", "SHA256SUMS"}
    assert "LICENSE" in sums
    assert sums == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sums}


def test_the_page_loads_nothing_from_elsewhere() -> None:
    pages = [file for file in STATIC.iterdir() if file.is_file()]
    assert len(pages) >= 7
    for file in pages:
        assert "://" not in file.read_text(encoding="utf-8"), file.name
