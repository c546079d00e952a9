"""impl="cuda": the hand-written CUDA C++ kernels of the extension module.

The extension links CUDA's runtime statically and needs no driver to be imported. A build with
ROPESCALE_CUDA=EMULATED has the same kernels compiled for the host, which take CPU tensors: slow,
and for tests.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from ..ops.arguments import RotaryCosSinSpec, RotaryQKSpec
from ..ops.check import is_plain
from .compiled import extension, reason

_extension = extension


@cache
def unavailable() -> str | None:
    """Return why the kernels cannot run on any device here, or None."""
    if _extension is None:
        return reason
    words: str = _extension.cuda_unavailable(-1)
    if words or _is_emulated():
        return words or None
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return None


def excluded_from_auto() -> str | None:
    """Return why "auto" never chooses this implementation, or None."""
    return "its kernels are emulated on the host here" if _is_emulated() else None


def unsupported(spec: RotaryQKSpec | RotaryCosSinSpec) -> str | None:
    """Return why the kernels cannot serve a call, or None: they read plain tensors of a device."""
    wanted = "cuda" if _extension is None else _extension.cuda_device_type
    if spec.q.device.type != wanted:
        return f"the tensors are on {spec.q.device}"
    if not is_plain(spec):
        return "it takes plain tensors, no subclass of torch.Tensor and no torch.func transform"
    return _reason_against_device(_device_of(spec.q))


def launch_rotary_qk(spec: RotaryQKSpec, *, pdl: bool = False) -> None:
    """Launch one kernel on the current stream of the tensors' device.

    Args:
        spec: A checked call with outputs.
        pdl: Programmatic dependent launch: lets this kernel be set up while the one before it on
            the stream ends (compute capability 9.0 and above).

    Raises:
        RopeScaleRuntimeError: The launch failed; CUDA's name for the error is in the message.
    """
    device = _device_of(spec.q)
    _extension.rotary_qk_cuda(spec, device, _stream_of(device), pdl)


def launch_rotary_cos_sin(spec: RotaryCosSinSpec, *, pdl: bool = False) -> None:
    """Launch the same kernel with the caller's cos and sin; as `launch_rotary_qk`."""
    device = _device_of(spec.q)
    _extension.rotary_cos_sin_cuda(spec, device, _stream_of(device), pdl)


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum over tokens and heads in float64, in a fixed order."""
    num_tokens = spec.q.shape[:-2].numel()
    groups, num_pairs = _extension.scaling_grad_groups(num_tokens), spec.rotary_dim // 2
    sums = torch.empty((groups, num_pairs, 3), dtype=torch.float64, device=spec.q.device)
    device = _device_of(spec.q)
    call = replace(spec, q_out=grad_q, k_out=grad_k)
    _extension.scaling_grad_cuda(call, sums, device, _stream_of(device))
    total = sums.sum(dim=0)  # (num_pairs, 3)
    # The cosines and sines that were summed are multiplied by the factors already.
    of_factors = total[:, 1:].sum(dim=0) / spec.table.attention_factor_bits.view(torch.float32)
    return total[None, :, 0].to(torch.float32), of_factors.to(torch.float32)


def warmup(spec: RotaryQKSpec) -> int:
    """Load the kernels onto the device, which the first launches would do otherwise."""
    _extension.load_cuda_kernels(_device_of(spec.q))
    return 0


@cache
def _reason_against_device(device: int) -> str | None:
    # unavailable() speaks for all devices, and this device may be older than the others. A device
    # that serves gets the kernels loaded here, because a capture may not allow a launch to load.
    return None if _extension is None else _extension.prepare_device(device) or None


def _is_emulated() -> bool:
    return _extension is not None and _extension.cuda_device_type == "cpu"


def _device_of(x: Tensor) -> int:
    index = x.device.index
    return 0 if index is None else index


def _stream_of(device: int) -> int:
    if _is_emulated():
        return 0
    stream: int = torch._C._cuda_getCurrentRawStream(device)
    return stream
