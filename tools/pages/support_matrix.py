"""docs/support.md: each feature on each implementation, found by calling.

A cell is "yes" only if the call gives the answer of the definition.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ropescale_kernels as rk
from tools import emulated_cuda

from .marks import ROOT, replaced, table

PAGE = ROOT / "docs" / "support.md"
Pair = tuple[Tensor, Tensor | None]
COLUMNS = ("cpu", "torch", "triton", "cuda")
# Last place of float16 and bfloat16 at the largest |output| here; for float32, the error of a
# float32 angle.
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

    # The definition computes with Python's numbers, which torch.compile cannot trace.
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


def _serves(impl: str, feature: Callable[[str], Pair], want: Pair) -> bool:
    try:
        got = feature(impl)
    except (rk.RopeScaleError, torch._dynamo.exc.TorchDynamoException):
        return False
    for x, y in zip(got, want, strict=True):
        if x is not None and y is not None:
            assert torch.allclose(x, y, rtol=0, atol=_CLOSE[x.dtype]), impl
    return True


def _far(impl: str) -> Pair:
    return _apply(impl, position_ids=torch.arange(2**31 - 5, 2**31))


def _equal_bits(impl: str, want: Pair) -> bool:
    pairs = zip(_far(impl), want, strict=True)
    return all(torch.equal(x, y) for x, y in pairs if x is not None and y is not None)


def _emulate_cuda() -> bool:
    """Serve impl="cuda" from the kernels compiled for the host, unless there is a device."""
    if torch.cuda.is_available() or emulated_cuda.missing_tool():
        return False
    given = os.environ.get("ROPESCALE_EMULATED_CUDA")
    emulated_cuda.serve(emulated_cuda.load(Path(given) if given else emulated_cuda.build()))
    return True


def _cells(served: dict[str, bool]) -> list[str]:
    """Return a cell for each column; an implementation that cannot run has an empty one."""
    words = {impl: "yes" if serves else "no" for impl, serves in served.items()}
    return [words.get(impl, "") for impl in COLUMNS]


def matrix() -> str:
    """Return the table of features and implementations, and a line for each stand-in."""
    emulated = _emulate_cuda()
    reasons = rk.available_impls()
    running = [impl for impl in COLUMNS if reasons[impl] is None]
    rows = []
    for name, feature in FEATURES.items():
        want = feature("reference")
        served = {impl: _serves(impl, feature, want) for impl in running}
        rows.append([name, *_cells(served)])
    want = _far("reference")
    served = {impl: _equal_bits(impl, want) for impl in running}
    rows.append(["the bits of the definition", *_cells(served)])
    lines = [f"{impl}: {reasons[impl]}." for impl in COLUMNS if impl not in running]
    if "triton" in running:
        lines.append("triton: the kernels as Triton interprets them on a CPU.")
    if emulated:
        lines.append("cuda: the same kernels, compiled for the host.")
    return table(["", *COLUMNS], rows) + "".join(f"\n{line}\n" for line in lines)


def rewritten(text: str) -> str:
    """Return the page with fresh parts."""
    # Triton looks once, when it is imported.
    os.environ["TRITON_INTERPRET"] = "1"
    with warnings.catch_warnings():
        # The torch implementation warns of its bits, and the compiler of an unknown function.
        warnings.simplefilter("ignore")
        return replaced(text, {"support": matrix()})
