"""What each implementation serves, found by calling it: the support matrix of README.

A feature is marked for an implementation only where the call gives the answer of the definition.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ropescale_kernels as rk

Pair = tuple[Tensor, Tensor | None]
COLUMNS = ("cpu", "torch", "triton", "cuda")
# float16's and bfloat16's last place at the largest |output| here, and a float32 angle's margin.
_CLOSE = {torch.float32: 1e-5, torch.float16: 2**-8, torch.bfloat16: 2**-5}

_SCALING = rk.RopeScaling.yarn(
    rotary_dim=16, rope_theta=1e4, factor=4.0, original_max_position_embeddings=4096
)
_SECTIONS = rk.RotaryTable.from_inv_freq(_SCALING.inv_freq, mrope_section=(4, 2, 2))


def _inputs(
    dtype: torch.dtype = torch.float32, head_dim: int = 16, heads: tuple[int, int] = (4, 2)
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    q, k = (torch.randn(2, 5, n, head_dim, generator=generator).to(dtype) for n in heads)
    return q, k


def _apply(
    impl: str,
    tensors: tuple[Tensor, Tensor | None] | None = None,
    table: rk.RotaryTable | None = None,
    position_ids: Tensor | None = None,
    **options: Any,
) -> Pair:
    q, k = _inputs() if tensors is None else tensors
    at = torch.arange(1000, 1005) if position_ids is None else position_ids
    return rk.apply_rotary_qk(q, k, at, table or rk.RotaryTable(_SCALING), impl=impl, **options)


def _in_place(impl: str) -> Pair:
    q, k = _inputs()
    rk.apply_rotary_qk_(q, k, torch.arange(5), rk.RotaryTable(_SCALING), impl=impl)
    return q, k


def _views(impl: str) -> Pair:
    packed = torch.cat(_inputs(), dim=2)
    q = packed[:, :, :4]
    k = packed[:, :, 4:].transpose(1, 2).contiguous().transpose(1, 2)
    return _apply(impl, (q, k))


def _profiles(impl: str) -> Pair:
    table = rk.RotaryTable([_SCALING, rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4)])
    profile_ids = torch.tensor([0, 1], dtype=torch.int32)
    return _apply(impl, table=table, profile_ids=profile_ids)


def _dynamic(impl: str) -> Pair:
    table = rk.RotaryTable(_SCALING, dynamic=True)
    table.update_(torch.tensor([10000]))
    return _apply(impl, table=table)


def _magnitude(impl: str) -> Pair:
    return _apply(impl, table=rk.RotaryTable(_SCALING, magnitude="query"))


def _cos_sin(impl: str) -> Pair:
    angle = torch.arange(5.0)[:, None] * _SCALING.inv_freq
    return rk.apply_rotary_cos_sin(*_inputs(), angle.cos(), angle.sin(), impl=impl)


def _gradients(impl: str) -> Pair:
    q, k = (x.requires_grad_() for x in _inputs())
    q_out, k_out = _apply(impl, (q, k))
    assert k_out is not None
    grads = torch.autograd.grad([q_out, k_out], [q, k], [torch.ones_like(q), torch.ones_like(k)])
    return grads[0], grads[1]


def _gradients_of_scaling(impl: str) -> Pair:
    inv_freq = _SCALING.inv_freq.clone().requires_grad_()
    return _apply(impl, table=rk.RotaryTable.from_inv_freq(inv_freq))


def _one_graph(impl: str) -> Pair:
    table = rk.RotaryTable(_SCALING)

    def call(q: Tensor, k: Tensor, position_ids: Tensor) -> Pair:
        return rk.apply_rotary_qk(q, k, position_ids, table, impl=impl)

    # The definition is Python on numbers, which no compiler is asked to take.
    run = call if impl == "reference" else torch.compile(call, fullgraph=True, backend="eager")
    q, k = _inputs()
    result: Pair = run(q, k, torch.arange(5))
    return result


FEATURES: dict[str, Callable[[str], Pair]] = {
    "float32": lambda impl: _apply(impl, _inputs(torch.float32)),
    "float16": lambda impl: _apply(impl, _inputs(torch.float16)),
    "bfloat16": lambda impl: _apply(impl, _inputs(torch.bfloat16)),
    "half-split pairs": _apply,
    "interleaved pairs": lambda impl: _apply(impl, interleaved=True),
    "partial rotation": lambda impl: _apply(impl, _inputs(head_dim=24)),
    "grouped, multi-query, MLA heads": lambda impl: _apply(impl, _inputs(heads=(16, 1))),
    "q alone": lambda impl: _apply(impl, (_inputs()[0], None)),
    "packed and transposed views, no copy": _views,
    "in place": _in_place,
    "several scalings in a batch": _profiles,
    "dynamic tables": _dynamic,
    "M-RoPE": lambda impl: _apply(
        impl, table=_SECTIONS, position_ids=torch.arange(30).view(3, 2, 5)
    ),
    "magnitude on the query alone, or none": _magnitude,
    'phase="float32"': lambda impl: _apply(impl, phase="float32"),
    "conjugate": lambda impl: _apply(impl, conjugate=True),
    "your own cos and sin": _cos_sin,
    "gradients of q and k": _gradients,
    "gradients of inv_freq": _gradients_of_scaling,
    "torch.compile in one graph": _one_graph,
}


@functools.cache
def _by_definition(feature: Callable[[str], Pair]) -> Pair:
    """Return the answer of the definition, which is computed once for every implementation."""
    return feature("reference")


def _serves(impl: str, feature: Callable[[str], Pair]) -> bool:
    try:
        got = feature(impl)
    except (rk.RopeScaleError, torch._dynamo.exc.TorchDynamoException):
        return False
    for x, y in zip(got, _by_definition(feature), strict=True):
        if x is not None and y is not None:
            assert torch.allclose(x, y, rtol=0, atol=_CLOSE[x.dtype]), impl
    return True


def _equal_bits(impl: str) -> bool:
    position_ids = torch.arange(2**31 - 5, 2**31)
    pairs = zip(
        _apply(impl, position_ids=position_ids),
        _apply("reference", position_ids=position_ids),
        strict=True,
    )
    return all(torch.equal(x, y) for x, y in pairs if x is not None and y is not None)


def _emulate_cuda() -> bool:
    """Let the kernels compiled for the host stand for the device that is not there."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    emulated_cuda = importlib.import_module("tools.emulated_cuda")
    if torch.cuda.is_available() or emulated_cuda.missing_tool():
        return False
    emulated_cuda.serve(emulated_cuda.load(emulated_cuda.build()))
    return True


def matrix() -> list[str]:
    """Rows of a Markdown table: a feature, and for each implementation yes, no, or nothing."""
    emulated = _emulate_cuda()
    reasons = rk.available_impls()
    lines = []
    checks = FEATURES | {"the bits of the definition": None}
    for name, feature in checks.items():
        cells = []
        for impl in COLUMNS:
            if reasons[impl] is not None:
                cells.append("")
            else:
                served = _equal_bits(impl) if feature is None else _serves(impl, feature)
                cells.append("yes" if served else "no")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"\n{impl}: {reasons[impl]}." for impl in COLUMNS if reasons[impl] is not None]
    if reasons["triton"] is None:
        lines.append("\ntriton: as Triton interprets the kernels on a CPU.")
    if emulated:
        lines.append("\ncuda: the same kernels, compiled for the host.")
    return lines
