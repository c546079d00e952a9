"""Every option on the device against the definition, computed on the CPU.

What is compiled has the bits of the definition; impl="torch" is within twice the bound of both.
Tests with the mark "sanitizer" are run under compute-sanitizer too (bench/gpu.sh).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk

SameBits = Callable[..., None]
Pair = tuple[Tensor, Tensor | None]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
BATCH, SEQLEN = 2, 3
YARN: dict[str, Any] = {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}
POSITIONS = torch.tensor([[7919, -1, 2**31 - 1], [2**24 + 1, 0, 131071]])


@dataclass(frozen=True)
class Case:
    """A call: q and k as made from (heads, head_dim), a table, positions and options."""

    heads: tuple[int, int] = (4, 2)
    head_dim: int = 64
    rotary_dim: int = 64
    layout: str = "contiguous"
    table: str = "static"
    position_ids: Tensor = POSITIONS
    profile_ids: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "plain": Case(),
    "heads first": Case(layout="heads first"),
    "packed qkv": Case(layout="packed qkv"),
    "odd sizes": Case(layout="odd offset", head_dim=46, rotary_dim=46),
    "tokens": Case(layout="tokens", position_ids=POSITIONS.flatten()),
    "q alone": Case(layout="q alone"),
    "no tokens": Case(layout="no tokens", position_ids=POSITIONS[:, :0]),
    "interleaved": Case(options={"interleaved": True}),
    "conjugate": Case(options={"conjugate": True}),
    "partial": Case(head_dim=128, rotary_dim=32),
    "partial, interleaved": Case(head_dim=96, rotary_dim=24, options={"interleaved": True}),
    "smallest": Case(head_dim=2, rotary_dim=2, heads=(1, 1)),
    "largest": Case(head_dim=512, rotary_dim=512, heads=(1, 1)),
    "MLA": Case(heads=(128, 1)),
    "head_dim 80": Case(head_dim=80, rotary_dim=80, heads=(3, 1)),
    "phase float32": Case(options={"phase": "float32"}),
    "int32 positions": Case(position_ids=POSITIONS.to(torch.int32)),
    "one row of positions": Case(position_ids=POSITIONS[0]),
    "profiles by token": Case(
        table="profiles", profile_ids=torch.tensor([[0, 1, 2], [2, 1, 0]], dtype=torch.int32)
    ),
    "profiles by sequence": Case(
        table="profiles", profile_ids=torch.tensor([2, 1], dtype=torch.int32)
    ),
    "profiles out of range": Case(
        table="profiles", profile_ids=torch.tensor([[0, 3, -1], [2**30, 1, 0]], dtype=torch.int32)
    ),
    "dynamic": Case(table="dynamic", profile_ids=torch.tensor([1, 0], dtype=torch.int32)),
    "dynamic NTK": Case(table="dynamic NTK"),
    "M-RoPE": Case(table="sections", position_ids=torch.stack([POSITIONS + n for n in range(3)])),
    "M-RoPE, one axis": Case(table="sections"),
    "magnitude query": Case(table="query"),
    "magnitude none": Case(table="none"),
}
# Where cosines and sines come from: each makes code of its own in Triton, and so do the order of
# pairs and the alignment of rows, which make code of their own in CUDA C++ too.
EVERY_AXIS = torch.stack([POSITIONS + n for n in range(3)])
BY_TOKEN = torch.tensor([[0, 1, 1], [1, 0, 0]], dtype=torch.int32)
SOURCES: dict[str, dict[str, Any]] = {
    "static": {},
    "phase float32": {"options": {"phase": "float32"}},
    "profiles": {
        "table": "profiles",
        "position_ids": POSITIONS.to(torch.int32),
        "profile_ids": BY_TOKEN,
    },
    "dynamic, M-RoPE, profiles": {
        "table": "dynamic sections",
        "position_ids": EVERY_AXIS,
        "profile_ids": BY_TOKEN,
    },
}
CODE = {
    f"{source}, {'interleaved' if interleaved else 'halves'}, {rows}": Case(
        layout="contiguous" if rows == "vectors" else "odd offset",
        head_dim=80,
        **(made | {"options": made.get("options", {}) | {"interleaved": interleaved}}),
    )
    for source, made in SOURCES.items()
    for interleaved in (False, True)
    for rows in ("vectors", "elements")
}
CASES |= CODE
# Run under compute-sanitizer: elements, odd addresses, copied channels, and every source.
SANITIZED = {*CODE, "odd sizes", "partial", "partial, interleaved", "tokens", "packed qkv"}
SANITIZED |= {"M-RoPE", "dynamic", "profiles out of range"}


def names(chosen: Iterable[str]) -> list[Any]:
    """Parametrise over cases, with the mark of those that the sanitizer runs."""
    marks = {True: [pytest.mark.sanitizer], False: []}
    return [pytest.param(name, marks=marks[name in SANITIZED]) for name in chosen]


def draw(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def tensors(case: Case, dtype: torch.dtype, device: torch.device) -> Pair:
    n, n_k = case.heads
    if case.layout == "heads first":
        q = draw(BATCH, n, SEQLEN, case.head_dim, dtype=dtype).to(device)
        k = draw(BATCH, n_k, SEQLEN, case.head_dim, dtype=dtype).to(device)
        return q.transpose(1, 2), k.transpose(1, 2)
    if case.layout == "packed qkv":
        packed = draw(BATCH, SEQLEN, n + 2 * n_k, case.head_dim, dtype=dtype).to(device)
        return packed[:, :, :n], packed[:, :, n : n + n_k]
    if case.layout == "odd offset":
        size = BATCH * SEQLEN * case.head_dim
        flat = draw((n + n_k) * size + 3, dtype=dtype).to(device)
        q = flat[1 : 1 + n * size].view(BATCH, SEQLEN, n, case.head_dim)
        return q, flat[3 + n * size :].view(BATCH, SEQLEN, n_k, case.head_dim)
    seqlen = 0 if case.layout == "no tokens" else SEQLEN
    q, k = (draw(BATCH, seqlen, h, case.head_dim, dtype=dtype).to(device) for h in (n, n_k))
    if case.layout == "tokens":
        return q.flatten(0, 1), k.flatten(0, 1)
    return q, None if case.layout == "q alone" else k


def table_of(case: Case, device: torch.device) -> rk.RotaryTable:
    yarn = rk.RopeScaling.yarn(rotary_dim=case.rotary_dim, **YARN)
    if case.table == "profiles":
        default = rk.RopeScaling.default(rotary_dim=case.rotary_dim, rope_theta=1e4)
        linear = rk.RopeScaling.linear(rotary_dim=case.rotary_dim, rope_theta=1e4, factor=2.0)
        return rk.RotaryTable([yarn, default, linear], device=device)
    if case.table in ("dynamic", "dynamic NTK"):
        scalings: Any = [yarn, yarn]
        if case.table == "dynamic NTK":
            scalings = rk.RopeScaling.dynamic_ntk(
                rotary_dim=case.rotary_dim,
                rope_theta=1e4,
                factor=2.0,
                max_position_embeddings=4096,
            )
        table = rk.RotaryTable(scalings, device=device, dynamic=True)
        lengths = torch.tensor([100_000, 50_000][: table.num_profiles], device=device)
        table.update_(lengths)
        return table
    if case.table == "dynamic sections":
        axes = rk.RopeScaling.yarn(rotary_dim=case.rotary_dim, mrope_section=(16, 8, 8), **YARN)
        table = rk.RotaryTable([axes, axes], device=device, dynamic=True)
        table.update_(torch.tensor([100_000, 50_000], device=device))
        return table
    if case.table == "sections":
        return rk.RotaryTable.from_inv_freq(
            yarn.inv_freq, 1.25, device=device, mrope_section=(16, 8, 8)
        )
    magnitude = case.table if case.table in ("query", "none") else "both"
    return rk.RotaryTable(yarn, device=device, magnitude=magnitude)


def call(case: Case, dtype: torch.dtype, device: torch.device, impl: str, **more: Any) -> Pair:
    q, k = more.pop("tensors", None) or tensors(case, dtype, device)
    ids = None if case.profile_ids is None else case.profile_ids.to(device)
    apply = more.pop("apply", rk.apply_rotary_qk)
    result = apply(
        q,
        k,
        case.position_ids.to(device),
        table_of(case, device),
        profile_ids=ids,
        impl=impl,
        **case.options,
        **more,
    )
    return (q, k) if result is None else result


def check(impl: str, got: Pair, want: Pair, same_bits: SameBits, scale: float = 1.3) -> None:
    """Compare with the definition; `scale` is at least the magnitude squared."""
    on_host = tuple(None if x is None else x.cpu() for x in got)
    if impl != "torch":
        same_bits(on_host, want)
        return
    for x, y in zip(on_host, want, strict=True):
        if x is None or y is None:
            assert x is y
            continue
        assert torch.equal(x.isnan(), y.isnan())
        largest = y.nan_to_num().abs().max().double() if y.numel() else torch.zeros(())
        bound = rk.bounds.rotation_bound(largest, largest, scale, y.dtype)
        assert ((x - y).nan_to_num().abs().double() <= 2 * bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", names(CASES))
def test_out_of_place(
    gpu_impl: str, device: torch.device, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    case = CASES[name]
    want = call(case, dtype, torch.device("cpu"), "reference")
    got = call(case, dtype, device, gpu_impl)
    q, _ = tensors(case, dtype, device)
    assert got[0].device.type == device.type
    assert got[0].stride() == torch.empty_like(q).stride()
    check(gpu_impl, got, want, same_bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", names(CASES))
def test_in_place_has_the_same_bits(
    gpu_impl: str, device: torch.device, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    case = CASES[name]
    want = call(case, dtype, device, gpu_impl)
    same_bits(call(case, dtype, device, gpu_impl, apply=rk.apply_rotary_qk_), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "odd sizes", "partial", "MLA", "interleaved"])
def test_every_element_is_written_and_nothing_beside(
    gpu_impl: str, device: torch.device, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    case, margin = CASES[name], 64
    want = call(case, dtype, device, gpu_impl)
    buffers = []
    for x in want:
        assert x is not None
        flat = torch.full((x.numel() + 2 * margin,), 7.0, dtype=dtype, device=device)
        flat[margin:-margin] = float("nan")
        buffers.append(flat)
    out = tuple(b[margin:-margin].view(x.shape) for b, x in zip(buffers, want, strict=True))
    same_bits(call(case, dtype, device, gpu_impl, out=out), want)
    for flat in buffers:
        assert (flat[:margin] == 7).all()
        assert (flat[-margin:] == 7).all()


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [False, True], ids=["by token", "by index"])
def test_cos_and_sin_of_the_callers(
    gpu_impl: str, device: torch.device, dtype: torch.dtype, rows: bool, same_bits: SameBits
) -> None:
    case = Case()
    angle = torch.arange(SEQLEN * 1.0)[:, None] * torch.linspace(0.1, 1, 32)
    # The last row is out of range.
    position_ids = torch.tensor([2, 0, 5]) if rows else None
    results = []
    for impl, where in (("reference", torch.device("cpu")), (gpu_impl, device)):
        q, k = tensors(case, dtype, where)
        at = None if position_ids is None else position_ids.to(where)
        cos, sin = angle.cos().to(where), angle.sin().to(where)
        results.append(rk.apply_rotary_cos_sin(q, k, cos, sin, at, impl=impl))
    check(gpu_impl, results[1], results[0], same_bits)
    assert bool(results[0][0].isnan().any()) == rows


@pytest.mark.parametrize(
    "name", names(["plain", "partial", "q alone", "interleaved", "magnitude query"])
)
def test_gradients_are_the_conjugate_rotation(
    gpu_impl: str, device: torch.device, name: str, same_bits: SameBits
) -> None:
    case = CASES[name]
    q, k = tensors(case, torch.float32, device)
    leaves = [x.detach().clone().requires_grad_() for x in (q, k) if x is not None]
    pair = (leaves[0], leaves[1] if k is not None else None)
    outputs = [
        x for x in call(case, torch.float32, device, gpu_impl, tensors=pair) if x is not None
    ]
    upstream = [draw(*x.shape, dtype=torch.float32).to(device) for x in outputs]
    got = torch.autograd.grad(outputs, leaves, upstream)
    given = (upstream[0], upstream[1] if k is not None else None)
    want = call(case, torch.float32, device, gpu_impl, tensors=given, conjugate=True)
    same_bits(got, tuple(x for x in want if x is not None))


def test_a_dynamic_table_is_the_static_one_at_its_length(
    gpu_impl: str, device: torch.device, same_bits: SameBits
) -> None:
    q, k = tensors(Case(), torch.float32, device)
    dynamic = table_of(Case(table="dynamic"), device)
    scaling = rk.RopeScaling.yarn(rotary_dim=64, **YARN).at_seq_len(100_000)
    static = rk.RotaryTable(scaling, device=device)
    at = POSITIONS.to(device)
    same_bits(
        rk.apply_rotary_qk(q, k, at, dynamic, impl=gpu_impl),
        rk.apply_rotary_qk(q, k, at, static, impl=gpu_impl),
    )
