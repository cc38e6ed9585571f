"""The description of the interface: valid, and made from the declarations."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

import hseie.analytics
from hseie.access import NOT_ALLOWED, OVER_QUOTA
from hseie.analytics import alerts, audits, fleet, history, pairs, performance, representation
from hseie.config import Auth, Config, Http, Tls
from hseie.openapi import document, text
from hseie.openapi_keys import problems_of_keys
from hseie.openapi_schemas import example_reading, reference
from hseie.problems import ITEM_CODES, PROBLEMS
from hseie.readings import KINDS, METER
from hseie.route_table import ROUTES
from tests.described import validate

ROOT = Path(__file__).resolve().parents[2]

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
    described = document(Config(http=Http(batch_readings_max=77)))
    assert "up to 77 readings" in described["info"]["description"]
    for name in ("Readings", *(f"{kind.name.capitalize()}Readings" for kind in KINDS)):
        assert described["components"]["schemas"][name]["maxItems"] == 77


def test_it_is_the_same_at_every_start_and_the_one_in_docs() -> None:
    assert text(Config()) == text(Config())
    assert (ROOT / "docs" / "openapi.json").read_text() == text(Config()), "run `make docs`"


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(child)


def test_every_component_is_used_and_every_reference_leads_to_one() -> None:
    described = document(Config())
    used = {node["$ref"] for node in _nodes(described) if "$ref" in node}
    assert used == {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}


def test_examples_are_good_by_their_own_schemas() -> None:
    described = document(Config())
    seen = 0
    for node in _nodes(described):
        schema = node.get("schema", node)
        examples = node.get("examples", ())
        for example in [one["value"] for one in examples.values()] if isinstance(examples, dict) else examples:
            validate(example, schema, described)
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("wrong", [{"voltage": "230"}, {"voltage": 501}, {"more": 1}, {"timestamp": "today"}])
def test_readings_are_strict(wrong: dict[str, Any]) -> None:
    described = document(Config())
    for name in ("MeterReading", "Reading"):
        validate(example_reading(METER), reference(name), described)
        with pytest.raises(ValidationError):
            validate(example_reading(METER) | wrong, reference(name), described)


def test_answers_may_grow() -> None:
    closed = [name for name, schema in document(Config())["components"]["schemas"].items() if _is_closed(schema)]
    assert sorted(closed) == sorted(["PairRequest", *(f"{kind.name.capitalize()}Reading" for kind in KINDS)])


def _is_closed(schema: dict[str, Any]) -> bool:
    return schema.get("additionalProperties") is False


def test_parameters_are_those_that_the_routes_know() -> None:
    known = {
        "/v1/analytics/history/meter/{id}": history.PARAMETERS,
        "/v1/analytics/history/vehicle/{id}": history.PARAMETERS,
        "/v1/analytics/performance/{vehicleId}": performance.PARAMETERS,
        "/v1/analytics/alerts": alerts.PARAMETERS,
        "/v1/analytics/stats": fleet.PARAMETERS,
        "/v1/audit": ("days",),
        "/v1/pairs": pairs.PARAMETERS,
        "/readyz": ("verbose",),
    }
    for route in ROUTES:
        described = {parameter.name for parameter in route.parameters if parameter.place == "query"}
        expected = ("at",) if route.method == "delete" else known.get(route.path, ())
        assert described == set(expected), route.path
    schemas = {parameter.name: parameter.schema for route in ROUTES for parameter in route.parameters}
    limits = {
        route.path: parameter.schema
        for route in ROUTES
        for parameter in route.parameters
        if parameter.name == "limit" and not route.path.endswith("/meter/{id}")
    }
    assert limits == {
        path: {"type": "integer", "minimum": 1, "maximum": module.LIMIT_MAX, "default": module.LIMIT_DEFAULT}
        for path, module in (
            ("/v1/analytics/history/vehicle/{id}", history),
            ("/v1/analytics/alerts", alerts),
            ("/v1/pairs", pairs),
        )
    }
    assert schemas["of"]["enum"] == list(alerts.LISTS)
    assert schemas["format"]["enum"] == list(representation.FORMATS)
    assert schemas["resolution"]["enum"] == list(history.RESOLUTIONS)
    assert schemas["order"]["enum"] == list(history.ORDERS)
    assert schemas["days"]["default"] == audits.DAYS


def test_every_parameter_of_a_path_is_described() -> None:
    for path, item in document(Config())["paths"].items():
        for operation in item.values():
            described = [one for one in operation.get("parameters", ()) if one["in"] == "path"]
            assert [f"{{{one['name']}}}" for one in described] == [part for part in path.split("/") if "{" in part]
            assert all(one["required"] and one["description"] and one["schema"]["pattern"] for one in described)


def test_operations_keep_their_names() -> None:
    # Generated clients call them so.
    names = [operation["operationId"] for item in document(Config())["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)
    assert set(names) >= {
        "post_ingest", "post_ingest_meter", "post_ingest_vehicle", "get_ingest_jobs_jobId", "get_ingest_queue_stats",
        "get_ingest_meter_id_current", "get_analytics_history_vehicle_id", "get_analytics_performance_vehicleId",
        "get_analytics_stats", "get_audit", "get_health", "get_livez", "get_readyz", "get_metrics",
        "get_api_openapi_json", "get_pairs", "put_pairs_vehicleId", "delete_pairs_vehicleId",
    }  # fmt: skip


def test_links_lead_to_operations_with_their_parameters() -> None:
    described = document(Config())
    operations = {
        operation["operationId"]: operation for item in described["paths"].values() for operation in item.values()
    }
    links = [link for node in _nodes(described["paths"]) for link in node.get("links", {}).values()]
    assert len(links) > 10
    for link in links:
        known = {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= known


def test_codes_of_errors_are_declared() -> None:
    # Every first argument of ErrorItem(...) in the package: none is given that is not described, and none is described
    # in vain.
    given = set()
    for file in (ROOT / "hseie").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ErrorItem":
                given |= {one.value for one in node.args[:1] if isinstance(one, ast.Constant)}
    assert given | {NOT_ALLOWED, OVER_QUOTA} == set(ITEM_CODES)


def test_routes_are_declared_once_and_name_declared_problems() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert {code for route in ROUTES for code in route.problems} <= set(PROBLEMS)


def test_what_any_request_may_meet_is_described_with_every_route() -> None:
    for item in document(Config())["paths"].values():
        for operation in item.values():
            codes = {code for answer in operation["responses"].values() for code in answer.get("x-problem-codes", ())}
            assert codes >= {"bad_request", "head_too_large", "request_timeout", "expectation_failed", "internal"}


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


def test_certificates_bound_to_devices_are_described_with_keys_and_without() -> None:
    bound = Tls(certificate="c", key="k", client_ca="a")
    for auth in (Auth(), Auth(mode="keys")):
        described = document(Config(auth=auth, tls=bound))
        assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
        for path, method, words in (
            ("/v1/ingest/meter", "post", "`device_not_allowed`"),
            ("/v1/ingest/meter/{id}/current", "get", "`device_not_allowed`"),
            ("/v1/analytics/stats", "get", "`forbidden`"),
        ):
            text = described["paths"][path][method]["responses"]["403"]["description"]
            assert text.count(words) == 1
        assert "403" not in described["paths"]["/livez"]["get"]["responses"]
    anything = Tls(certificate="c", key="k", client_ca="a", client_subject="any")
    assert document(Config(tls=anything)) == document(Config())


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
