"""Rules of the house that a test can check, over every tracked source."""

from __future__ import annotations

import ast
import graphlib
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ropescale_kernels"
MOST_LINES = 400


def sources(*patterns: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split() if (ROOT / name).exists()]


def test_no_source_file_is_longer_than_a_reader_can_hold() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources("*.py", "*.h", "*.cpp", "*.cu", "*.sh")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_no_framework_header_below_the_python_folder() -> None:
    framework, cuda = (
        re.compile(rf'#include\s*[<"]({names})')
        for names in (r"torch|ATen|c10|Python\.h|pybind11", "cuda_")
    )
    is_cuda = re.compile(r"_cuda\.|\.cu$")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("csrc/math/*", "csrc/kernels/*")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if framework.search(line) or (cuda.search(line) and not is_cuda.search(path.name))
    ]
    assert not found


def test_no_library_sine_or_cosine_in_the_kernels() -> None:
    raw = re.compile(r"\b(?:std::|__)?(?:sinf?|cosf?|sincosf?|sinpi|cospi)\s*\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("csrc/*")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if raw.search(line.split("//")[0])
    ]
    assert not found


def test_no_fast_math_anywhere_in_the_build() -> None:
    names = ("CMakeLists.txt", "cmake/FindCudaCompiler.cmake", "setup.py")
    text = "".join((ROOT / name).read_text() for name in names)
    assert "-ffp-contract=off" in text
    assert "--fmad=false" in text
    fast = "-ffast-math -Ofast -funsafe-math use_fast_math reciprocal-math ftz=true prec-div=false"
    assert not [flag for flag in fast.split() if flag in text]


def test_comments_hold_no_work_left_over() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        str(path.relative_to(ROOT))
        for path in sources("*.py", "*.h", "*.cpp", "*.cu", "*.sh")
        if path != Path(__file__).resolve() and mark.search(path.read_text())
    ]
    assert not found


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and (docstring := ast.get_docstring(node)) is not None:
            yield node.body[0].lineno, docstring


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments, docstrings or Markdown lines of a file, with their line numbers."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from docstrings(text)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        return
    mark = {".md": "", ".sh": "#"}.get(path.suffix, "//")
    for number, line in enumerate(text.splitlines(), start=1):
        _, found, comment = line.partition(mark) if mark else ("", True, line)
        if found:
            yield number, comment


@cache
def known_paths() -> frozenset[str]:
    files = [path.relative_to(ROOT) for path in sources("*")]
    folders = {f"{folder.as_posix()}/" for path in files for folder in path.parents}
    return frozenset({path.as_posix() for path in files} | folders)


NOT_A_FILE = {"llama.cpp"}
FILE = re.compile(r"(?<![\w./<*{-])((?:[\w.-]+/)*[\w-]+\.(?:py|h|cpp|cu|sh|md|toml))(?![\w(])")
FOLDER = re.compile(r"`((?:[\w.-]+/){2,})`")


def missing_paths(text: str) -> list[str]:
    """Return the files and folders that a text names and the repository does not have."""
    named = {*FILE.findall(text), *FOLDER.findall(text)} - NOT_A_FILE
    return [
        name
        for name in sorted(named)
        if not any(f"/{known}".endswith(f"/{name.lstrip('./')}") for known in known_paths())
    ]


def missing_documents(text: str) -> list[str]:
    """Return the documents that a text names without a suffix and the repository does not have."""
    named = re.findall(r"\b(BAD_INPUTS|DESIGN|HOUSE|STYLE)\b|\b(the notes'|in the notes)\b", text)
    return ["".join(groups) for groups in named]


def wrong_verb(docstring: str) -> bool:
    return re.match(r"(Gives?|Returns)\b", docstring) is not None


def test_paths_named_in_prose_exist() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number}": missing
        for path in sources("*.py", "*.h", "*.cpp", "*.cu", "*.sh", "*.md")
        for number, text in prose(path)
        if path != Path(__file__).resolve() and (missing := missing_paths(text))
    }
    assert not found


def test_no_document_is_named_that_is_not_in_the_repository() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number}": missing
        for path in sources("*.py", "*.h", "*.cpp", "*.cu", "*.sh", "*.md")
        for number, text in prose(path)
        if path != Path(__file__).resolve() and (missing := missing_documents(text))
    }
    assert not found


def test_docstrings_say_return() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("*.py")
        for number, docstring in docstrings(path.read_text())
        if wrong_verb(docstring)
    ]
    assert not found


def modules() -> dict[str, Path]:
    names = {}
    for path in sources("ropescale_kernels/*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def absolute_imports(text: str) -> list[int]:
    """Return the lines that import the package by its absolute name, functions included."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        if any(name.split(".")[0] == PACKAGE.name for name in names):
            lines.append(node.lineno)
    return lines


def test_imports_inside_the_package_are_relative() -> None:
    found = {
        name: lines
        for name, path in modules().items()
        if (lines := absolute_imports(path.read_text()))
    }
    assert not found


FACTORIES = {"arange", "empty", "full", "linspace", "ones", "rand", "randn", "tensor", "zeros"}


def without_device(text: str) -> list[int]:
    """Return the lines that make a tensor on the default device, which a caller may have set."""
    lines: list[int] = []

    def visit(node: ast.AST, *, in_context: bool) -> None:
        if isinstance(node, ast.With):
            entered = any("torch.device(" in ast.unparse(item) for item in node.items)
            in_context = in_context or entered
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_torch = ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES
            named = any(keyword.arg == "device" for keyword in node.keywords)
            if of_torch and not named and not in_context:
                lines.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, in_context=in_context)

    visit(ast.parse(text), in_context=False)
    return lines


def test_every_tensor_of_the_package_names_its_device() -> None:
    # The benchmarks run in a process of their own.
    found = {
        name: lines
        for name, path in modules().items()
        if not name.startswith("ropescale_kernels.bench")
        and (lines := without_device(path.read_text()))
    }
    assert not found


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, but for type checkers' own."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from top_level(node.orelse)
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            for field in ("body", "orelse", "finalbody"):
                yield from top_level(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from top_level(handler.body)
        else:
            yield node


def imported(name: str, path: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that a module names in its top-level imports."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in top_level(ast.parse(path.read_text()).body):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            home = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            members = [f"{home}.{alias.name}" for alias in node.names]
            found |= {member if member in known else home for member in members}
    return found & known


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_no_module_imports_itself_through_others() -> None:
    paths = modules()
    graph = {name: imported(name, path, set(paths)) for name, path in paths.items()}
    # The walk has to see the imports, or no circle would ever be found.
    assert "ropescale_kernels.bench.run" in graph["ropescale_kernels.cli.bench"]
    assert sum(map(len, graph.values())) > len(graph)
    assert circle(graph) == []


def test_the_rules_find_planted_faults(tmp_path: Path) -> None:
    assert missing_paths(
        "as in tests/csrc/engine_of_old.cpp, `tests/conftest.py` and llama.cpp"
    ) == ["tests/csrc/engine_of_old.cpp"]
    assert missing_paths("`ropescale_kernels/no_such_room/`, `ropescale_kernels/bench/`") == [
        "ropescale_kernels/no_such_room/"
    ]
    assert missing_documents("As BAD_INPUTS has it, and in the notes") == [
        "BAD_INPUTS",
        "in the notes",
    ]
    assert [wrong_verb(f"{verb} x.") for verb in ("Give", "Gives", "Returns", "Return")] == [
        True,
        True,
        True,
        False,
    ]
    assert absolute_imports("import ropescale_kernels.ops\nfrom ropescale_kernels import ops") == [
        1,
        2,
    ]
    assert absolute_imports("def f():\n    from ropescale_kernels import ops") == [2]
    assert absolute_imports("from . import ops\nimport torch") == []
    assert without_device("torch.ones(2)\nwith torch.no_grad():\n    torch.zeros(1)") == [1, 3]
    assert (
        without_device("torch.ones(2, device=x)\nwith torch.device('cpu'):\n    torch.ones(1)")
        == []
    )
    (tmp_path / "a.py").write_text("# of b.py\nx = 1\n")
    assert list(prose(tmp_path / "a.py")) == [(1, "# of b.py")]
    (tmp_path / "a.cu").write_text("int x;  // of b.py\n")
    assert list(prose(tmp_path / "a.cu")) == [(1, " of b.py")]
    (tmp_path / "one.py").write_text(
        "if TYPE_CHECKING:\n    from . import two\n"
        "try:\n    from .three import x\nfinally:\n    pass\n"
    )
    known = {"p", "p.one", "p.two", "p.three"}
    assert imported("p.one", tmp_path / "one.py", known) == {"p.three"}
    assert set(circle({"one": {"two"}, "two": {"three"}, "three": {"one"}})) == {
        "one",
        "two",
        "three",
    }
    assert circle({"one": {"two", "three"}, "two": {"three"}}) == []
