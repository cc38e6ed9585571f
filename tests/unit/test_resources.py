"""SQL files are found by name, and what several have in common is written once."""

from pathlib import Path

import pytest

from hseie import resources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("queries", "parts"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(resources, "resource", lambda name: tmp_path)
    resources.sql.cache_clear()
    return tmp_path


def test_a_line_stands_for_the_text_of_another_file(folder: Path) -> None:
    (folder / "parts" / "inner.sql").write_text("-- inner\nSELECT 1 AS one\n")
    (folder / "parts" / "outer.sql").write_text("WITH some AS (\n\\ir inner.sql\n)\n")
    (folder / "queries" / "question.sql").write_text("\\ir ../parts/outer.sql\nSELECT one FROM some -- \\ir nothing\n")
    expected = "WITH some AS (\n-- inner\nSELECT 1 AS one\n)\nSELECT one FROM some -- \\ir nothing\n"
    assert resources.sql("queries", "question") == expected


def test_a_part_that_is_missing(folder: Path) -> None:
    (folder / "queries" / "question.sql").write_text("\\ir ../parts/other.sql\n")
    with pytest.raises(FileNotFoundError, match="other"):
        resources.sql("queries", "question")
