"""The list of safety lines (tests/mutants) stays true: each line is where it is said to be, and so is its test."""

import ast
import functools
from pathlib import Path

import pytest

from tests.mutants.run import ROOT, Line, lines

PROMISES = {
    *(f"P{number}" for number in range(1, 11)),
    "wire",
    "door",
    "rollups",
    "archive",
    "pairs",
}  # section 4, who may in, sections 5 and 6


@functools.cache
def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)} | {
        f"{node.targets[0].id}"
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.name)
def test_a_line_is_in_its_file_once_and_its_tests_exist(line: Line) -> None:
    assert (ROOT / line.file).read_text(encoding="utf-8").count(line.old) == 1
    assert line.old != line.new
    assert line.tests
    for test in line.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), file
        assert not name or name.partition("[")[0] in _functions(ROOT / file), test


def test_every_promise_has_its_lines() -> None:
    assert {line.promise for line in lines()} == PROMISES


def test_names_are_there_once() -> None:
    names = [line.name for line in lines()]
    assert len(names) == len(set(names))
