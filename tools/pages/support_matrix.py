"""docs/support.md: each feature on each implementation, found by calling.

A cell is "yes" only if the call gives the answer of the definition.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import ropescale_kernels as rk
from tools import contract, emulated_cuda
from tools.contract.draws import draw, yarn

from .marks import ROOT, replaced, table

PAGE = ROOT / "docs" / "support.md"
Pair = tuple[Tensor, Tensor | None]
COLUMNS = ("cpu", "torch", "triton", "cuda")
# Last place of float16 and bfloat16 at the largest |output| here; for float32, the error of a
# float32 angle.
_CLOSE = {torch.float32: 1e-5, torch.float16: 2**-8, torch.bfloat16: 2**-5}

_HOST = torch.device("cpu")
_POSITIONS = torch.arange(1000, 1005)


def _inputs() -> tuple[Tensor, Tensor]:
    return draw(2, 5, 4, 16, seed=1), draw(2, 5, 2, 16, seed=2)


def _apply(impl: str, tensors: tuple[Tensor, Tensor], table: rk.RotaryTable) -> Pair:
    return rk.apply_rotary_qk(*tensors, _POSITIONS, table, impl=impl)


def _calls(*names: str, dtype: torch.dtype = torch.float32) -> Callable[[str], Pair]:
    """Return a feature that is served if named calls of the contract are."""

    def feature(impl: str) -> Pair:
        results = [contract.call(contract.CASES[name], dtype, _HOST, impl) for name in names]
        return _joined(results)

    return feature


def _rows(*names: str) -> Callable[[str], Pair]:
    """Return a feature that is served if named calls with the caller's cos and sin are."""

    def call(name: str, impl: str) -> Pair:
        case = contract.ROWS[name]
        q, k = contract.tensors(contract.Case(), torch.float32)
        rows = contract.rows_of(case, torch.float32)
        return rk.apply_rotary_cos_sin(q, k, *rows, impl=impl, **case.options)

    return lambda impl: _joined([call(name, impl) for name in names])


def _joined(results: list[Pair]) -> Pair:
    q, k = (torch.cat([x.flatten() for x in xs if x is not None]) for xs in _columns(results))
    return q, k


def _columns(results: list[Pair]) -> tuple[list[Tensor | None], list[Tensor | None]]:
    none = torch.empty(0)
    return [q for q, _ in results], [none, *(k for _, k in results)]


def _in_place(impl: str) -> Pair:
    q, k = _inputs()
    rk.apply_rotary_qk_(q, k, _POSITIONS, rk.RotaryTable(yarn(16)), impl=impl)
    return q, k


def _gradients(impl: str) -> Pair:
    q, k = (x.requires_grad_() for x in _inputs())
    q_out, k_out = _apply(impl, (q, k), rk.RotaryTable(yarn(16)))
    assert k_out is not None
    grads = torch.autograd.grad([q_out, k_out], [q, k], [torch.ones_like(q), torch.ones_like(k)])
    return grads[0], grads[1]


def _gradients_of_scaling(impl: str) -> Pair:
    inv_freq = yarn(16).inv_freq.clone().requires_grad_()
    return _apply(impl, _inputs(), rk.RotaryTable.from_inv_freq(inv_freq))


def _one_graph(impl: str) -> Pair:
    table = rk.RotaryTable(yarn(16))

    def call(q: Tensor, k: Tensor, position_ids: Tensor) -> Pair:
        return rk.apply_rotary_qk(q, k, position_ids, table, impl=impl)

    # The definition computes with Python's numbers, which torch.compile cannot trace.
    run = call if impl == "reference" else torch.compile(call, fullgraph=True, backend="eager")
    q, k = _inputs()
    result: Pair = run(q, k, torch.arange(5))
    return result


_PLAIN = _calls("plain")
FEATURES: dict[str, Callable[[str], Pair]] = {
    "float32": _calls("plain", dtype=torch.float32),
    "float16": _calls("plain", dtype=torch.float16),
    "bfloat16": _calls("plain", dtype=torch.bfloat16),
    "half-split pairs": _calls("plain"),
    "interleaved pairs": _calls("interleaved"),
    "partial rotation": _calls("partial", "partial, interleaved"),
    "grouped, multi-query, MLA heads": _calls("plain", "head_dim 80", "MLA"),
    "q alone": _calls("q alone"),
    "packed and transposed views, no copy": _calls("packed qkv", "heads first"),
    "in place": _in_place,
    "several scalings in a batch": _calls("profiles by token", "profiles by sequence"),
    "dynamic tables": _calls("dynamic", "dynamic NTK"),
    "M-RoPE": _calls("M-RoPE", "M-RoPE, one axis"),
    "magnitude on the query alone, or none": _calls("magnitude query", "magnitude none"),
    'phase="float32"': _calls("phase float32"),
    "conjugate": _calls("conjugate"),
    "your own cos and sin, in three orders": _rows("by token", "doubled, partial", "repeated"),
    "your own cos and sin, any last stride": _rows("real parts", "real parts, interleaved"),
    "your own cos and sin of M-RoPE axes": _rows("axes", "axes in turns, repeated"),
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


def _equal_bits(impl: str, want: Pair) -> bool:
    pairs = zip(_PLAIN(impl), want, strict=True)
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
    want = _PLAIN("reference")
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
    with warnings.catch_warnings():
        # The torch implementation warns of its bits, and the compiler of an unknown function.
        warnings.simplefilter("ignore")
        return replaced(text, {"support": matrix()})
