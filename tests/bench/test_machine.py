"""What a report says it was measured on."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
import torch

from ropescale_kernels.bench import machine

CPU = torch.device("cpu")


def test_malloc_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    assert machine.malloc_setting() == "default"
    for name, value in machine.RETAIN.items():
        monkeypatch.setenv(name, value)
    assert machine.malloc_setting() == "retain"
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert machine.malloc_setting() == "custom"


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({"A": "1", "MALLOC_ARENA_MAX": "2"}, {"A": "1"}),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, {}),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.rtld.nns=4"},
            {"GLIBC_TUNABLES": "glibc.rtld.nns=4"},
        ),
        ({"GLIBC_TUNABLES": "glibc.rtld.nns=4"}, {"GLIBC_TUNABLES": "glibc.rtld.nns=4"}),
        ({}, {}),
    ],
)
def test_what_sets_malloc_is_taken_out(environment: dict[str, str], plain: dict[str, str]) -> None:
    assert machine.without_malloc(environment) == plain


def test_the_instruction_set_in_force_is_named() -> None:
    extension = importlib.import_module("ropescale_kernels._C")
    before = extension.cpu_isa()
    try:
        extension.use_cpu_isa("baseline")
        assert machine.machine(CPU)["isa"] == "baseline"
    finally:
        extension.use_cpu_isa(before)


def test_versions_threads_and_sources_are_kept() -> None:
    about = machine.machine(CPU)
    assert about["torch"] == torch.__version__
    assert about["threads"] == torch.get_num_threads()
    assert len(about["sources_sha256"]) == 64
    assert about["cpu"]
    assert "gpu" not in about


def test_the_hash_is_of_names_and_contents(tmp_path: Path) -> None:
    hash_of = machine.sources_sha256
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "a.h").write_text("1")
    first = hash_of(tmp_path)
    (tmp_path / "csrc" / "notes.txt").write_text("1")
    assert hash_of(tmp_path) == first
    (tmp_path / "csrc" / "a.h").write_text("2")
    second = hash_of(tmp_path)
    (tmp_path / "csrc" / "a.h").rename(tmp_path / "csrc" / "b.h")
    assert len({first, second, hash_of(tmp_path)}) == 3
