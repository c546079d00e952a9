"""Liger-Kernel's Triton rotation, as its patch of Llama calls it.

cos and sin are Transformers', made anew in each forward. The rotation writes into q and k if their
memory has tokens before heads, otherwise into contiguous copies of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ... import unfused
from ..cases import Inputs
from ._baseline import Baseline, Call, Pair, inv_freq_bytes, own, package_version


def _unavailable(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "runs on CUDA devices only"
    try:
        _rotate()
    except ImportError as error:
        return str(error)
    return None


def _rotate() -> Callable[..., tuple[Tensor, Tensor]]:
    from liger_kernel.transformers.rope import liger_rotary_pos_emb

    rotate: Callable[..., tuple[Tensor, Tensor]] = liger_rotary_pos_emb
    return rotate


def _prepare(inputs: Inputs) -> Call:
    rotate = _rotate()

    def bind(q: Tensor, k: Tensor, attention_factor: float) -> Callable[[], tuple[Tensor, Tensor]]:
        q_heads, k_heads = q.transpose(1, 2), k.transpose(1, 2)

        def run() -> tuple[Tensor, Tensor]:
            cos, sin = unfused.cos_sin(
                inputs.inv_freq, inputs.position_ids, q.dtype, attention_factor
            )
            return rotate(q_heads, k_heads, cos, sin)

        return run

    def result() -> Pair:
        q_out, k_out = bind(*own(inputs), inputs.attention_factor)()
        return q_out.transpose(1, 2), k_out.transpose(1, 2)

    # The call is timed with a factor of 1, so values that are rotated in place stay finite.
    in_place = inputs.case.layout == "contiguous"
    writes: Literal["in place", "fresh"] = "in place" if in_place else "fresh"

    def bind_steady(q: Tensor, k: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        # Liger decides whether another layout is copied, so each call gets buffers of its own.
        return bind(*((q, k) if in_place else own(inputs)), 1.0)

    return Call(inputs, bind_steady, result, writes)


BASELINE = Baseline(
    "Liger-Kernel",
    _prepare,
    _unavailable,
    table_bytes=inv_freq_bytes,
    version=lambda: package_version("liger-kernel"),
)
