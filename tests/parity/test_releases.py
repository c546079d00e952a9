"""Each engine's release stands once, and whatever else names a release names the same one."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from ropescale_kernels.planner.engine_commands import RELEASES
from ropescale_kernels.scaling import RopeScaling, dialects
from ropescale_kernels.scaling.config.dialects import DIALECTS, Dialect

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"\d+\.[\d.]*\d")


@pytest.mark.parametrize("name", ["hf", "hf-4.51", "hf-4.45", "vllm", "sglang"])
def test_the_docstring_names_the_release(name: str) -> None:
    documented = re.sub(r"\s+", " ", RopeScaling.from_hf_config.__doc__ or "")
    found = re.search(rf'"{re.escape(name)}" \(([^)]*)\)', documented)
    assert found is not None
    assert NUMBER.findall(found[1]) == NUMBER.findall(DIALECTS[name].release)


@pytest.mark.parametrize("name", ["vllm", "sglang"])
def test_what_engines_compute_was_recorded_in_the_release(name: str) -> None:
    recorded = json.loads((ROOT / "tests" / "fixtures" / "engines.json").read_text())
    assert f"{recorded[name]['release']}.".startswith(f"{DIALECTS[name].release}.")
    assert RELEASES[name] == DIALECTS[name].release


def test_a_release_is_written_in_one_source_file() -> None:
    package = ROOT / "ropescale_kernels"
    texts = {path: path.read_text() for path in package.rglob("*.py")}
    for dialect in DIALECTS.values():
        assert sum(f'"{dialect.release}"' in text for text in texts.values()) == 1


def test_the_documented_path_of_a_dialect_is_one() -> None:
    found = re.search(r"`(scaling[.\w]*)\.Dialect`", RopeScaling.from_hf_config.__doc__ or "")
    assert found is not None
    assert importlib.import_module(f"ropescale_kernels.{found[1]}").Dialect is Dialect
    assert dialects.Dialect is Dialect
