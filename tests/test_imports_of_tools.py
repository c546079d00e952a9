"""Tools, benchmarks and tests find one another by pytest's pythonpath and by packages alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    path
    for folder in ("tests", "tools", "bench")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__).resolve()
]


def naming(pattern: str, folders: tuple[str, ...]) -> list[str]:
    """Return the files in some folders with a match of a pattern."""
    found = re.compile(pattern, re.M)
    names = {str(path.relative_to(ROOT)): path for path in SOURCES}
    return [
        name
        for name, path in names.items()
        if name.startswith(folders) and found.search(path.read_text())
    ]


@pytest.mark.parametrize("word", [r"\bsys\.path\b", r"\brunpy\b"])
def test_no_file_changes_the_path_of_imports(word: str) -> None:
    assert naming(word, ("tests/", "tools/", "bench/")) == []


def test_tools_and_benchmarks_import_nothing_of_the_tests() -> None:
    assert naming(r"^\s*(?:from|import) (?:tests|support|conftest)\b", ("tools/", "bench/")) == []


def test_benchmarks_run_no_file_of_the_tests() -> None:
    of_tests = r"[\"']tests\b"
    assert naming(of_tests, ("bench/",)) == []
    # The control: tests name files of the tests.
    assert naming(of_tests, ("tests/",))


def test_the_patterns_find_what_they_are_for() -> None:
    assert len(SOURCES) > 100
    assert "tests/gpu/conftest.py" in naming(r"^from support import", ("tests/",))
