"""The reason why the CUDA kernels cannot run, and the implementation that takes over."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
from ropescale_kernels.backends import cuda, triton
from ropescale_kernels.ops import implementations
from ropescale_kernels.ops.check import check_rotary_qk
from tools.emulated_cuda import Emulator, serve

REASONS = {
    "no driver": ({"driver_version": 0}, "no NVIDIA driver is loaded"),
    "old driver": (
        {"driver_version": 12040},
        "the driver serves CUDA 12.4, the kernels are built with CUDA 13.0, which needs driver 580 "
        "or newer",
    ),
    "no device": ({"device_count": 0}, "the driver finds no device (cudaErrorNoDevice)"),
    "old device": (
        {"compute_major": 7, "compute_minor": 5},
        "device 1 has compute capability 7.5, the kernels are built for 8.0 and above",
    ),
}


@pytest.fixture(params=REASONS)
def reason(
    request: pytest.FixtureRequest,
    emulator: Emulator,
    extension: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    properties, words = REASONS[request.param]
    emulator.set(**properties)
    serve(extension)
    return words


def call(impl: str) -> Any:
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
    return rk.apply_rotary_qk(torch.zeros(1, 1, 64), None, torch.arange(1), table, impl=impl)


def test_a_reason_is_given_for_what_is_named(reason: str) -> None:
    assert rk.available_impls()["cuda"] == reason
    with pytest.raises(rk.RopeScaleUnsupportedError) as caught:
        call("cuda")
    assert str(caught.value) == (
        f"impl: expected an implementation that can run, got 'cuda': {reason}"
    )


def test_a_hidden_device_is_told_with_the_variable(
    emulator: Emulator, extension: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "none")
    emulator.set(device_count=0)
    serve(extension)
    reason = rk.available_impls()["cuda"]
    assert reason is not None
    assert reason.endswith("; CUDA_VISIBLE_DEVICES is 'none'")


def test_a_newer_minor_release_of_the_same_driver_serves(
    emulator: Emulator, extension: Any
) -> None:
    emulator.set(driver_version=13020)
    serve(extension)
    assert rk.available_impls()["cuda"] is None


def test_of_two_devices_one_may_be_too_old(
    emulator: Emulator, extension: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.set(compute_major=7)
    serve(extension)
    # A newer device beside it would make the implementation available.
    monkeypatch.setattr(cuda, "unavailable", lambda: None)
    with pytest.raises(rk.RopeScaleUnsupportedError, match=r"device 0 has compute capability 7\.0"):
        call("cuda")


def test_triton_takes_over_with_one_warning(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As for tensors on a device, where neither is passed over.
    for backend in (cuda, triton):
        monkeypatch.setattr(backend, "excluded_from_auto", lambda: None)
    monkeypatch.setattr(triton, "unavailable", lambda: None)
    monkeypatch.setattr(triton, "unsupported", lambda spec: None)
    monkeypatch.setattr(implementations, "_warned_of", set())
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
    spec = check_rotary_qk(
        torch.zeros(1, 1, 64),
        None,
        torch.arange(1),
        table,
        None,
        interleaved=False,
        conjugate=False,
        phase="exact",
    )
    with pytest.warns(rk.RopeScaleWarning, match="expected the CUDA kernels, got Triton's") as said:
        assert implementations.choose_impl(spec, "auto") is triton
    (warning,) = said
    # The warning names device 0, because the tensors are there.
    assert reason.replace("device 1", "device 0") in str(warning.message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert implementations.choose_impl(spec, "auto") is triton


def test_loading_ahead_reports_a_device_that_is_too_old(emulator: Emulator, extension: Any) -> None:
    assert extension.load_cuda_kernels(0) == 15
    emulator.set(compute_major=7)
    with pytest.raises(rk.RopeScaleRuntimeError, match=r"cudaErrorNoKernelImage\w+ .* loading"):
        extension.load_cuda_kernels(0)


def test_a_device_without_code_for_it_is_left_to_triton(emulator: Emulator, extension: Any) -> None:
    assert extension.prepare_device(0) == ""
    emulator.set(no_kernel_image=1)
    assert extension.cuda_unavailable(0) == ""
    assert extension.prepare_device(0).startswith("cudaErrorNoKernelImageForDevice")


def test_auto_never_takes_emulated_kernels(extension: Any) -> None:
    assert cuda.excluded_from_auto() == "its kernels are emulated on the host here"


def test_a_build_without_kernels_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_extension", None)
    monkeypatch.setattr(cuda, "reason", "the extension module does not import (gone)")
    cuda.unavailable.cache_clear()
    assert cuda.unavailable() == "the extension module does not import (gone)"
    cuda.unavailable.cache_clear()
