"""What a report says it was measured on."""

from __future__ import annotations

import importlib
import os

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
    assert len(about["csrc_sha256"]) == 64
    assert about["cpu"]
    assert "gpu" not in about
