"""The pages: code runs, named files are there, links lead somewhere, parts have a writer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.scaling.config.model_types import MODEL_TYPES
from tools.pages import __main__ as pages
from tools.pages import (
    choosing,
    marks,
    model_types,
    numerics,
    performance,
    plan,
    readme,
    support_matrix,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FOLDERS = r"(?:bench|cmake|csrc|docs|ropescale_kernels|tests|tools|\.ci|\.github)"
# Not a pattern such as bench/results/gpu-<device>.json.
PATH = re.compile(rf"(?<!\S){FOLDERS}/[\w./-]+(?![\w./<*-])")


def code(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def missing_paths(text: str) -> list[str]:
    """Return the paths in backquotes that are not in the repository."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    named = [word for span in spans for word in PATH.findall(span)]
    return [name for name in named if not (ROOT / name).exists()]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead to no file or to no heading."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


# The compiler imports code that torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_code_of_the_quickstart_runs_in_order() -> None:
    blocks = code(ROOT / "docs" / "quickstart.md")
    assert len(blocks) >= 5
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "quickstart.md", "exec"), namespace)
    assert namespace["dynamic"].scalings[0].factor == 4.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning")
def test_the_code_of_the_page_on_exporting_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    blocks = code(ROOT / "docs" / "exporting.md")
    assert len(blocks) == 2
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "exporting.md", "exec"), namespace)
    assert namespace["q_out"].shape == (1, 100, 8, 64)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    assert not missing_paths(text)
    assert not broken_links(page, text)


def test_a_missing_file_and_a_broken_link_are_found() -> None:
    text = "`tests/no_such_file.py` and `make test`, [a](docs/none.md), [b](README.md#no-heading)"
    assert missing_paths(text) == ["tests/no_such_file.py"]
    assert broken_links(ROOT / "README.md", text) == ["docs/none.md", "README.md#no-heading"]


def test_many_files_are_named() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert len(set(re.findall(rf"`({FOLDERS}/[\w./-]+)", text))) >= 30


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "index.md" or f"({name})" in index, name


@pytest.mark.parametrize("writer", [readme, performance, numerics, choosing, plan, model_types])
def test_every_generated_part_of_a_page_is_written(writer: Any) -> None:
    text = writer.PAGE.read_text()
    emptied = re.sub(
        r"(<!-- generated: [\w ]+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL
    )
    emptied = re.sub(r"in \d\.\d\d of the time", "in 9.99 of the time", emptied)
    assert emptied != text
    assert writer.rewritten(emptied) == text


def test_a_part_needs_exactly_one_place() -> None:
    place = "<!-- generated: x -->\nold\n<!-- end -->\n"
    assert marks.part(marks.replaced(place, {"x": "new\n"}), "x") == "new\n"
    for text in ("", place * 2):
        with pytest.raises(ValueError, match=r"^x: expected one place on the page, got [02]$"):
            marks.replaced(text, {"x": "new\n"})


def test_a_wrong_answer_is_no_feature() -> None:
    def conjugated(impl: str) -> support_matrix.Pair:
        name = "conjugate" if impl == "cpu" else "plain"
        return support_matrix._calls(name)(impl)

    with pytest.raises(AssertionError, match="cpu"):
        support_matrix._serves("cpu", conjugated, conjugated("reference"))


def test_an_unknown_page_is_refused(run_tool: Any) -> None:
    code, _, err = run_tool(pages.main, "--check", "docs/none.md")
    assert code == 2
    assert "page: expected one of README.md" in err


def test_numbers_of_configs_and_model_types_are_right() -> None:
    text = (ROOT / "docs" / "plan.md").read_text()
    configs = list((ROOT / "tests" / "fixtures" / "configs").glob("*.json"))
    assert f" {len(configs)} published configs" in text
    assert f"more than {len(MODEL_TYPES) // 100 * 100} model types" in text
    assert len(MODEL_TYPES) > 100


def test_the_new_places_of_moved_modules_are_there() -> None:
    rows = re.findall(
        r"^  \| `([\w.]+)` \| `([\w.]+)` \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert len(rows) >= 40
    for old, new in rows:
        place = ROOT / "ropescale_kernels" / new.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"{old} -> {new}"
