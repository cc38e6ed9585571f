"""Every code that an answer may carry is met by a row of the catalogue, or named here with the test that meets it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from hseie.access import NOT_ALLOWED, OVER_QUOTA
from hseie.problems import PROBLEMS
from tests.wire.catalogue import ROWS

ROOT = Path(__file__).parents[2]

PROBLEMS_ELSEWHERE = {
    # Each needs a state of the node.
    "internal": "tests/unit/test_web.py",
    "overloaded": "tests/integration/test_limits.py",
    "writer_unavailable": "tests/faults/test_writer_down.py",
    "journal_full": "tests/faults/test_limits.py",
    "disk_full": "tests/faults/test_limits.py",
    "draining": "tests/integration/test_acceptor_routes.py",
    "not_ready": "tests/faults/test_limits.py",
    "ack_timeout": "tests/faults/test_limits.py",
    "database_unavailable": "tests/integration/test_analytics_routes.py",
    "archive_unavailable": "tests/integration/test_analytics_archived.py",
    "analytics_unavailable": "tests/integration/test_acceptor_routes.py",
    "pair_conflict": "tests/integration/test_pairs_routes.py",
    # Each needs keys.
    "unauthorized": "tests/system/test_keys.py",
    "forbidden": "tests/system/test_keys.py",
    "keys_unavailable": "tests/integration/test_acceptor_keys.py",
    NOT_ALLOWED: "tests/system/test_keys.py",
    "rate_limited": "tests/system/test_keys.py",
    OVER_QUOTA: "tests/system/test_keys.py",
}
ERRORS_ELSEWHERE = {NOT_ALLOWED: "tests/system/test_keys.py", OVER_QUOTA: "tests/system/test_keys.py"}

# Where the code of an ErrorItem does not stand in the call: what it may be.
CODES_PASSED_ON = {"hseie/acceptor/explain.py: explain_refusal": {NOT_ALLOWED, OVER_QUOTA}}


def error_codes() -> set[str]:
    """The codes of all errors that the code makes."""
    found: set[str] = set()
    for file in (ROOT / "hseie").rglob("*.py"):
        for function, call in _errors_made(ast.parse(file.read_text(encoding="utf-8"))):
            code = call.args[0]
            if isinstance(code, ast.Constant):
                found.add(str(code.value))
            else:
                found |= CODES_PASSED_ON[f"{file.relative_to(ROOT)}: {function}"]
    return found


def _errors_made(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ErrorItem":
            yield inside, node
        yield from _errors_made(node, inside)


def test_every_problem_is_met() -> None:
    met = {row.code for row in ROWS if row.code}
    assert met | PROBLEMS_ELSEWHERE.keys() == PROBLEMS.keys()
    assert not met & PROBLEMS_ELSEWHERE.keys(), "a row meets it: it need not be named"


def test_every_code_of_an_error_is_met() -> None:
    met = {error.split()[-1] for row in ROWS for error in row.errors}
    codes = error_codes()
    assert len(codes) > 8
    assert met | ERRORS_ELSEWHERE.keys() == codes
    assert not met & ERRORS_ELSEWHERE.keys(), "a row meets it: it need not be named"


@pytest.mark.parametrize(("code", "file"), [*PROBLEMS_ELSEWHERE.items(), *ERRORS_ELSEWHERE.items()])
def test_what_is_named_elsewhere_is_there(code: str, file: str) -> None:
    assert f'"{code}"' in (ROOT / file).read_text(encoding="utf-8")
